"""fastmock: a mock OpenAI API server on Rust runtimes."""

__version__ = "0.1.0"
