// Runs the command that prints a password, on a worker thread. The command has a process group of its own, so that a
// time limit ends it together with whatever it started. Its standard error goes nowhere: a script that traces itself
// would bring a secret into our log.
#include "pg_password.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"

#define LOOK_EVERY_MS 50
#define MAX_PASSWORD 65536

extern char **environ;

static int spawn(const char *command, int output, pid_t *pid) {
    char *arguments[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    int failed = posix_spawn(pid, "/bin/sh", &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

struct run {
    int64_t until_ns;  // monotonic; 0 for no limit
    const atomic_bool *abandoned;
};

// NULL while the command may go on, else why it may not.
static const char *overdue(const struct run *run) {
    if (atomic_load(run->abandoned)) return "was interrupted";
    if (run->until_ns && clock_monotonic_ns() >= run->until_ns) return "has not ended within the connect timeout";
    return NULL;
}

// Reads until the command closes its output. NULL when all is read, else why not.
static const char *read_all(int fd, struct buf *output, const struct run *run) {
    const char *problem;
    while (!(problem = overdue(run))) {
        if (output->len > MAX_PASSWORD) return "prints too much to be a password";
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, LOOK_EVERY_MS) <= 0) continue;
        buf_reserve(output, 4096);
        ssize_t got = read(fd, output->data + output->len, 4096);
        if (got == 0) return NULL;
        if (got > 0) output->len += (size_t)got;
        else if (errno != EINTR) return "cannot be read from";
    }
    return problem;
}

// Waits for the command's end, and ends it when there is a problem or time is up. Returns the problem.
static const char *wait_for(pid_t pid, int *status, const struct run *run, const char *problem) {
    pid_t ended;
    while (!problem && (ended = waitpid(pid, status, WNOHANG)) != pid) {
        if (ended < 0 && errno != EINTR) return "cannot be waited for";
        poll(NULL, 0, 5);
        problem = overdue(run);
    }
    if (!problem) return NULL;
    kill(-pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR) continue;
    return problem;
}

static void wipe(struct buf *buf) {
    if (buf->data) explicit_bzero(buf->data, buf->cap);
    buf_free(buf);
}

char *pg_password_run(const char *command, uint64_t timeout_ms, const atomic_bool *abandoned, char *error,
                      size_t size) {
    struct buf output = {0};
    int status = 0;
    int pipe_fds[2];
    pid_t pid;
    if (pipe2(pipe_fds, O_CLOEXEC)) {
        snprintf(error, size, "password_command: %s", strerror(errno));
        return NULL;
    }
    int failed = spawn(command, pipe_fds[1], &pid);
    close(pipe_fds[1]);
    if (failed) {
        snprintf(error, size, "password_command: cannot start /bin/sh: %s", strerror(failed));
        goto fail;
    }
    struct run run = {timeout_ms ? clock_monotonic_ns() + (int64_t)timeout_ms * 1000000 : 0, abandoned};
    const char *problem = wait_for(pid, &status, &run, read_all(pipe_fds[0], &output, &run));
    if (problem) {
        snprintf(error, size, "password_command %s", problem);
        goto fail;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        snprintf(error, size, "password_command failed with exit status %d (its own messages are not shown)", code);
        goto fail;
    }
    if (output.len && output.data[output.len - 1] == '\n') output.len--;
    if (output.len && output.data[output.len - 1] == '\r') output.len--;
    if (!output.len || memchr(output.data, 0, output.len)) {
        snprintf(error, size, "password_command printed %s", output.len ? "a zero byte" : "nothing");
        goto fail;
    }
    close(pipe_fds[0]);
    char *password = xstrndup(output.data, output.len);
    wipe(&output);
    return password;
fail:
    close(pipe_fds[0]);
    wipe(&output);
    return NULL;
}
