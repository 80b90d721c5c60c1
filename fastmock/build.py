"""Compile a configuration into an App: read all files, compile all templates, index all rules."""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from fastmock.app import App, Parts
from fastmock.cassettes.check import check_environment, check_record
from fastmock.cassettes.load import load_cassettes
from fastmock.cassettes.replay import Replayer
from fastmock.cassettes.settings import Cassettes
from fastmock.config.config import Config
from fastmock.config.errors import describe
from fastmock.config.load import load, relaid
from fastmock.config.overlay import Overlay, RuleSection
from fastmock.content.tokenizers import TokenizerOf, available, estimated, exact
from fastmock.core.capabilities import Capability, Runtime
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.http import Progress
from fastmock.core.problems import ConfigError, SettingPath, did_you_mean
from fastmock.core.provider import Provider, Providers
from fastmock.engine.buffers import Buffers
from fastmock.engine.cache import Cache
from fastmock.engine.middleware import Policies
from fastmock.engine.profiles import LatencyProfiles
from fastmock.engine.services import Api, Services, endpoint_kinds
from fastmock.faults.injector import FaultInjector, SessionFaults
from fastmock.faults.injector import Options as FaultOptions
from fastmock.limits.limiter import RateLimits
from fastmock.providers import PROVIDERS
from fastmock.replication.connection import Connection, StoreError, connect
from fastmock.replication.counters import SharedCounters
from fastmock.replication.settings import Store as StoreSettings
from fastmock.replication.stored import SharedResponseLog, SharedStore
from fastmock.responses import ResponseManager
from fastmock.rules.validate import check_endpoints
from fastmock.shared.block import Share
from fastmock.shared.counters import Counters
from fastmock.shared.queue import AdmissionQueue
from fastmock.shared.rate_buckets import Buckets
from fastmock.shared.rule_hits import RuleHits
from fastmock.shared.store_state import StoreState
from fastmock.storage.response_log import ResponseLog
from fastmock.storage.sqlite import Store

_MOST_COMPARED = 500  # rules compared with each other at start, in 0.1 s; "fastmock check" compares all
_RULES: tuple[RuleSection, ...] = ("chat_completions", "completions")
_NEEDS = {"tls_cert": Capability.TLS, "tls_key": Capability.TLS, "http2": Capability.HTTP2}


def build(
    config: Config, manager: ResponseManager | None = None, previous: App | None = None, warns: bool = True
) -> App:
    """Compile a configuration.

    Args:
        config: the configuration.
        manager: a response manager to use instead of the configured one.
        previous: an App with an earlier version of the configuration, whose unchanged parts are reused.
        warns: whether to look for rules that can never win; False saves time if the warnings were given before.

    Raises:
        ConfigError: with all errors.
    """
    diagnostics = Diagnostics(config)
    share = Share()
    gate = AdmissionQueue(share)
    connection = _connection(config.settings.store, share, diagnostics)
    faults = _faults(config, share, connection, diagnostics, previous)
    profiles = LatencyProfiles(config, share, diagnostics.error, diagnostics.warn)
    of_sessions = {name: one.limits for name, one in config.sessions.items() if one.limits is not None}
    limits = RateLimits(config.settings.limits, of_sessions, Buckets(share), connection)
    policies = Policies(limits, faults, config.settings.overload, gate)
    services = _services(config, diagnostics, profiles, policies, manager, previous, share, connection)
    apis = {provider: provider.api(services) for provider in _providers(config, previous, diagnostics)}
    replayers = _replayers(config, share, diagnostics, {} if previous is None else previous.replayers)
    _check_endpoints(config, apis.values(), previous, diagnostics)
    _check_server(config, diagnostics)
    has_keys = config.settings.auth.mode == "keys"
    providers = [provider.name for provider in apis]
    server = config.settings.server
    check_record(config.settings.record, server.host, server.port, has_keys, providers, diagnostics)
    if diagnostics.problems:
        raise ConfigError(diagnostics.problems)
    app = App(Parts(services, apis, faults, gate, share, replayers))
    _warn(app, diagnostics, warns)
    if previous is None:
        app.activate()
    return app


def _services(
    config: Config,
    diagnostics: Diagnostics,
    profiles: LatencyProfiles,
    policies: Policies,
    manager: ResponseManager | None,
    previous: App | None,
    share: Share,
    connection: Connection | None,
) -> Services:
    """Return the services that endpoints are built from."""
    most = config.settings.stored.max_entries
    store = Store(most) if connection is None else SharedStore(most, connection)
    response_log = ResponseLog(store) if connection is None else SharedResponseLog(store, connection)
    return Services(
        config=config,
        diagnostics=diagnostics,
        fingerprint="fp_" + hashlib.blake2b(b"%d" % config.settings.seed, digest_size=5).hexdigest(),
        tokenizers=_tokenizers(config, diagnostics),
        profiles=profiles,
        policies=policies,
        buffers=Buffers(config.settings.server.max_buffered_bytes) if previous is None else previous.buffers,
        cache=Cache(config.settings.cache.max_bytes, share),
        hits=RuleHits(share),
        store=store,
        response_log=response_log,
        manager=manager or _manager(config, previous, diagnostics),
        progress=Progress(),
        previous={} if previous is None else {one.rules.section: one for one in previous.responders},
    )


def _connection(settings: StoreSettings, share: Share, diagnostics: Diagnostics) -> Connection | None:
    """Return the connection to the store that several servers share; None without one."""
    if settings.url is None:
        return None
    try:
        return connect(settings, StoreState(share))
    except StoreError as error:
        diagnostics.error(("store", "url"), str(error))
        return None


def _faults(
    config: Config, share: Share, connection: Connection | None, diagnostics: Diagnostics, previous: App | None
) -> FaultInjector:
    """Compile the faults."""
    counters = Counters(share)
    if connection is not None:
        counters = SharedCounters(counters, connection)
    settings = config.settings
    options = FaultOptions(
        simulated=settings.server.simulated_faults(),
        control_headers=settings.server.control_headers,
        runtimes=config.runtimes,
        seed=settings.seed,
        rule_names=lambda: [
            name for one in _RULES for name in (f"{one}.default", *(rule.name for rule in config.rules(one)))
        ],
        describe=describe,
    )
    sessions = {name: SessionFaults(one.faults, one.since) for name, one in config.sessions.items() if one.faults}
    before = None if previous is None else previous.faults
    return FaultInjector(settings.faults, sessions, options, counters, diagnostics, before)


def _replayers(
    config: Config, share: Share, diagnostics: Diagnostics, previous: Mapping[str, Replayer]
) -> dict[str, Replayer]:
    """Return what replays cassettes, by session; that of all others is the empty one."""
    takes_header = config.settings.server.control_headers
    sections: dict[str, tuple[Cassettes, SettingPath]] = {"": (config.settings.cassettes, ("cassettes",))}
    for name, session in config.sessions.items():
        if session.cassettes is not None:
            sections[name] = session.cassettes, ("sessions", name, "cassettes")
    found: dict[str, Replayer] = {}
    for name, (settings, path) in sections.items():
        before = previous.get(name)
        common = found.get("") if name else None
        replayer = load_cassettes(
            settings, path, config.find, takes_header, share, diagnostics, before, bool(name), common
        )
        if replayer is not None:
            found[name] = replayer
    return found


def _providers(config: Config, previous: App | None, diagnostics: Diagnostics) -> Providers:
    """Return the built-in providers and those that the configuration names."""
    if previous is not None:
        return previous.providers
    added: list[Provider] = []
    for place, name in enumerate(config.settings.server.providers):
        try:
            found = _import_object(name)
        except _NotImportedError as error:
            diagnostics.error(("server", "providers", place), str(error))
        else:
            if isinstance(found, Provider):
                added.append(found)
            else:
                diagnostics.error(("server", "providers", place), f"{name} is not a fastmock.core.provider.Provider")
    return Providers((*PROVIDERS, *added))


def _check_endpoints(config: Config, apis: Iterable[Api], previous: App | None, diagnostics: Diagnostics) -> None:
    """Check the kinds of endpoint in rules and faults; the rules of ``previous`` have been checked before."""
    kinds = endpoint_kinds(apis)
    known = set() if previous is None else {id(rule) for one in previous.rule_sets for rule in one.rules}
    for section in get_args(RuleSection):
        for _, path, pattern in config.rules(section):
            if id(pattern) not in known:
                check_endpoints(pattern.match, (*path, "match"), kinds, diagnostics)
    for place, fault in enumerate(config.settings.faults):
        if fault.match is not None:
            check_endpoints(fault.match, ("faults", place, "match"), kinds, diagnostics)


def _warn(app: App, diagnostics: Diagnostics, compares: bool) -> None:
    """Warn of settings that have no effect and of rules that can never win."""
    settings = app.config.settings
    if settings.server.simulate_errors and settings.server.error_rate == 0:
        diagnostics.warn(("server", "simulate_errors"), "has no effect while 'server.error_rate' is 0")
    if settings.overload.max_concurrent is not None and not app.takes_time:
        diagnostics.warn(("overload", "max_concurrent"), "has no effect without latency or delays")
    for rules in app.rule_sets:
        if compares and len(rules.rules) <= _MOST_COMPARED:
            diagnostics.warnings.extend(rules.unreachable_rules())


def _tokenizers(config: Config, diagnostics: Diagnostics) -> TokenizerOf:
    """Return the tokenizer of each model."""
    wanted = config.settings.usage.tokenizer
    if wanted == "exact" and not available():
        diagnostics.error(("usage", "tokenizer"), "exact counts need the extra: pip install 'fastmock[tokens]'")
        return estimated
    return estimated if wanted == "estimate" or not available() else exact()


def _check_server(config: Config, diagnostics: Diagnostics) -> None:
    """Check the capabilities of the runtime, the certificate, and the libraries of extras."""
    server = config.settings.server
    if config.settings.metrics.any and find_spec("prometheus_client") is None:
        diagnostics.error(("metrics",), "needs the extra: pip install 'fastmock[metrics]'")
    if server.watch and find_spec("watchfiles") is None:
        diagnostics.error(("server", "watch"), "needs the extra: pip install 'fastmock[watch]'")
    for runtime in config.runtimes:
        for name, capability in _NEEDS.items():
            if getattr(server, name) and runtime.lacks(capability):
                diagnostics.error(("server", name), runtime.refusal("this"))
        if config.settings.record.to is not None and runtime.lacks(Capability.FORWARD):
            diagnostics.error(("record", "to"), runtime.refusal("recording"))
    if bool(server.tls_cert) != bool(server.tls_key):
        lacking = "tls_key" if server.tls_cert else "tls_cert"
        diagnostics.error(("server", lacking), "is required: 'tls_cert' and 'tls_key' must be set together")
    elif server.tls_cert:
        try:
            from ssl import PROTOCOL_TLS_SERVER, SSLContext  # takes 4 MB

            SSLContext(PROTOCOL_TLS_SERVER).load_cert_chain(server.tls_cert, server.tls_key)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            fault = str(error) or type(error).__name__
            diagnostics.error(
                ("server", "tls_cert"), f"{server.tls_cert} with {server.tls_key} cannot be used: {fault}"
            )


def _manager(config: Config, previous: App | None, diagnostics: Diagnostics) -> ResponseManager | None:
    """Return the configured response manager: that of ``previous`` if its name is the same."""
    name = config.settings.responses.manager
    if name is None:
        return None
    if previous is not None and previous.config.settings.responses.manager == name:
        return previous.manager
    return _create_manager(name, diagnostics)


def _create_manager(name: str, diagnostics: Diagnostics) -> ResponseManager | None:
    """Create the response manager named ``package.module:Class``."""
    try:
        found = _import_object(name)
        if isinstance(found, type) and issubclass(found, ResponseManager):
            return found()
        fault = f"{name} is not a subclass of fastmock.responses.ResponseManager"
    except _NotImportedError as error:
        fault = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: no class may stop the server
        fault = f"{name} cannot be created: {type(error).__name__}: {error}"
    diagnostics.error(("responses", "manager"), fault)
    return None


class _NotImportedError(Exception):
    """An object named by a setting could not be imported; the message says why."""


def _import_object(name: str) -> object:
    """Import the object named ``package.module:NAME``; raise _NotImportedError on failure."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the working directory, as for "python -m"
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        fault = f"cannot import {module!r}: {error}"
    except AttributeError as error:
        fault = f"{error}{did_you_mean(attribute, vars(sys.modules.get(module, sys)))}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: no module may stop the server
        fault = f"{name} cannot be imported: {type(error).__name__}: {error}"
    raise _NotImportedError(fault)


@dataclass(frozen=True)
class Layers:
    """The layers of a configuration, to load and compile again after every change; see ``config.load.load``.

    Attributes:
        file: the configuration file, or its contents.
        environ: the environment variables.
        flags: settings from the command line.
        manager: a response manager given as an object.
        runtimes: runtimes by their names in ``server.runtime``; ``runtime`` is the serving one, once selected.
        pipes: see ``load``.
    """

    file: str | Path | Mapping[str, object] | None
    environ: Mapping[str, str]
    flags: Mapping[SettingPath, object]
    manager: ResponseManager | None = None
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    runtime: str = ""
    pipes: dict[Path, Any] = field(default_factory=dict)

    def load(self, overlay: Overlay | None = None) -> App:
        """Load and compile the configuration.

        Raises:
            ConfigError: with all errors of both steps.
        """
        config, problems = load(self.file, self.environ, self.flags, overlay=overlay, pipes=self.pipes)
        diagnostics = Diagnostics(config)
        check_environment(config.settings.record, self.environ, diagnostics)
        problems += diagnostics.problems
        names = dict.fromkeys((self.runtime, config.settings.server.runtime))
        runtimes = tuple(self.runtimes[name] for name in names if name in self.runtimes)
        try:
            app = build(replace(config, runtimes=runtimes), self.manager)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        return app

    def relaid(self, overlay: Overlay, config: Config) -> Config:
        """Return a loaded configuration with another overlay; raise ConfigError as ``load`` does."""
        again, problems = relaid(config, overlay)
        if problems:
            try:
                build(again, self.manager)
            except ConfigError as error:
                problems += error.problems
            raise ConfigError(problems)
        return again

    def compile(self, config: Config, previous: App | None, warns: bool) -> App:
        """Compile a configuration; see ``build``."""
        return build(config, self.manager, previous, warns)
