/* Stands before the real daemon where a test has it fail: does what the fault says, else becomes it.
 *
 * The faults are daemon.c's, in the same places: $SOCI_LAB_FAULT, else the file /opt/lab/soci-fault, holds
 *   exit | never-ready | mute | slow=SECONDS | die-after=SECONDS      followed by ` unit` where only a daemon
 * that systemd passed its socket to shall fail. `--version` is always the real daemon's answer.
 *
 * Built by build.py: cc -static
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DAEMON "/opt/lab/real/soci-snapshotter-grpc"

static char fault[64];

static void read_fault(void)
{
    const char *named = getenv("SOCI_LAB_FAULT");
    FILE *file = named ? NULL : fopen("/opt/lab/soci-fault", "re");
    if (named)
        snprintf(fault, sizeof fault, "%s", named);
    else if (file && !fgets(fault, sizeof fault, file))
        fault[0] = 0;
    if (file)
        fclose(file);
}

/* Whether the fault `name` is on; its number, 1 where it has none. */
static long faulty(const char *name)
{
    size_t length = strlen(name);
    if (strncmp(fault, name, length) || (fault[length] && !strchr("= \n", fault[length])))
        return 0;
    if (strstr(fault, " unit") && !getenv("LISTEN_FDS"))
        return 0;
    return fault[length] == '=' ? atol(fault + length + 1) : 1;
}

/* Where the daemon is told to listen; as Go's flags are written, with one dash or two. */
static const char *address(int argc, char **argv)
{
    for (int at = 1; at < argc; at++) {
        const char *name = argv[at] + strspn(argv[at], "-");
        if (!strncmp(name, "address=", 8))
            return name + 8;
        if (!strcmp(name, "address") && at + 1 < argc)
            return argv[at + 1];
    }
    return "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock";
}

static void say_ready(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (!path)
        return;
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(at.sun_path));
    if (at.sun_path[0] == '@')
        at.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&at, size) < 0)
        perror("NOTIFY_SOCKET");
    close(fd);
}

/* Take connections and never say a word. */
static void be_mute(const char *path)
{
    int fd = 3; /* systemd's */
    if (strcmp(path, "fd://")) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
        unlink(path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 64))
            exit(1);
    }
    say_ready();
    for (;;)
        accept(fd, NULL, NULL);
}

static void die_later(long seconds)
{
    pid_t daemon = getpid();
    if (fork())
        return;
    sleep((unsigned)seconds);
    kill(daemon, SIGKILL);
    _exit(0);
}

int main(int argc, char **argv)
{
    read_fault();
    if (argc > 1 && strstr(argv[1], "version"))
        fault[0] = 0;
    if (faulty("exit")) {
        fprintf(stderr, "told to fail\n");
        return 1;
    }
    if (faulty("slow"))
        sleep((unsigned)faulty("slow"));
    if (faulty("never-ready"))
        for (;;)
            pause();
    if (faulty("mute"))
        be_mute(address(argc, argv));
    if (faulty("die-after"))
        die_later(faulty("die-after"));
    execv(DAEMON, argv);
    perror(DAEMON);
    return 1;
}
