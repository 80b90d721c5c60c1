/* An open-loop load generator for one HTTP/1.1 server on 127.0.0.1.
 *
 * Requests are due at a constant rate, whether or not earlier ones are answered, and the latency of each is counted from
 * its due time: a slow server does not slow the load down, so its delays are not omitted.
 *
 * Usage: openloop PORT RATE SECONDS CONNECTIONS FILE REPEAT
 * FILE holds a whole request; its "NNNNNNNN" is replaced by a number that grows, or that starts again after REPEAT.
 * Prints: requests due, answered, refused, and latencies in µs: p50, p99, the largest.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, GRACE = 2 }; /* bytes of a head; seconds for the last answers */

struct connection {
    int fd;
    double due;          /* of the request in flight */
    long left;           /* bytes of the body; -1 before the head, -2 in chunks */
    int held;            /* bytes in the buffer */
    char buffer[BUFFER];
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float share(float *values, long count, double part) {
    return count ? values[(long)((count - 1) * part)] : 0;
}

static char *request, *number;
static long length, repeat, counter;

static int post(struct connection *one, double due) {
    long value = repeat ? counter % repeat : counter;
    for (int digit = 7; digit >= 0; digit--, value /= 10) number[digit] = '0' + value % 10;
    counter++;
    one->due = due;
    one->left = -1;
    one->held = 0;
    return send(one->fd, request, length, MSG_NOSIGNAL) == length;
}

/* Reads what has come; returns 1 at the end of a response, -1 on an error; sets *status. */
static int receive(struct connection *one, int *status) {
    for (;;) {
        char *place = one->buffer + (one->left == -1 ? one->held : 0);
        long room = BUFFER - 1 - (place - one->buffer);
        long got = recv(one->fd, place, room, MSG_DONTWAIT);
        if (got == 0) return -1;
        if (got < 0) return errno == EAGAIN ? 0 : -1;
        if (one->left == -1) {
            one->held += got;
            one->buffer[one->held] = 0;
            char *end = strstr(one->buffer, "\r\n\r\n");
            if (!end) {
                if (one->held >= BUFFER - 1) return -1;
                continue;
            }
            *status = atoi(one->buffer + 9);
            long body = one->held - (end + 4 - one->buffer);
            char *sized = strcasestr(one->buffer, "content-length:");
            if (sized && sized < end) {
                one->left = atol(sized + 15) - body;
            } else {
                one->left = -2;
                place = end + 4;
                got = body;
            }
        } else if (one->left >= 0) {
            one->left -= got;
        }
        if (one->left == 0) return 1;
        if (one->left == -2 && got >= 5 && !memcmp(place + got - 5, "0\r\n\r\n", 5)) return 1;
    }
}

int main(int count, char **words) {
    if (count != 7) return 2;
    int port = atoi(words[1]), connections = atoi(words[4]);
    double rate = atof(words[2]), seconds = atof(words[3]);
    repeat = atol(words[6]);
    FILE *file = fopen(words[5], "r");
    if (!file) return 2;
    request = calloc(1, 1 << 20);
    length = fread(request, 1, (1 << 20) - 1, file);
    number = strstr(request, "NNNNNNNN");
    if (!number) return 2;
    struct connection *all = calloc(connections, sizeof *all), **idle = calloc(connections, sizeof *idle);
    int epoll = epoll_create1(0), free_ones = 0;
    for (int i = 0; i < connections; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        int yes = 1;
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (connect(all[i].fd, (struct sockaddr *)&address, sizeof address)) return 1;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
        idle[free_ones++] = &all[i];
    }
    long due = rate * seconds, sent = 0, answered = 0, refused = 0;
    float *latencies = calloc(due + 1, sizeof *latencies);
    double start = now(), stop = start + seconds + GRACE;
    struct epoll_event events[256];
    while (answered + refused < due && now() < stop) {
        double time = now();
        while (sent < due && free_ones && start + sent / rate <= time) {
            if (!post(idle[--free_ones], start + sent / rate)) return 1;
            sent++;
        }
        int ready = epoll_wait(epoll, events, 256, 0);
        for (int i = 0; i < ready; i++) {
            struct connection *one = events[i].data.ptr;
            int status = 0, done = receive(one, &status);
            if (done < 0) return 1;
            if (status && status != 200) refused++, answered--;
            if (done) {
                latencies[answered + refused] = (now() - one->due) * 1e6;
                answered++;
                idle[free_ones++] = one;
            }
        }
    }
    long done = answered + refused;
    for (long i = done; i < due; i++) latencies[i] = 1e9; /* not answered in time */
    qsort(latencies, due, sizeof *latencies, ascending);
    printf("%ld %ld %ld %.0f %.0f %.0f\n", due, answered, refused, share(latencies, due, 0.5),
           share(latencies, due, 0.99), share(latencies, due, 1));
    return 0;
}
