/* Stands for soci-snapshotter-grpc 0.15: an old real daemon (/opt/lab/soci/daemon) behind it does the
 * work, this adds what the old one lacks as seen from outside: socket activation, the checks of
 * newer configuration keys, the current CRI image service, --version, and faults on demand.
 *
 * Faults: $SOCI_LAB_FAULT, else the file /opt/lab/soci-fault, holds
 *   exit | never-ready | mute | slow=SECONDS | die-after=SECONDS      followed by ` unit` where only a daemon
 * that systemd passed its socket to shall fail (so not a preflight's).
 *
 * Built by build.py: cc -static -pthread -DSOCI_VERSION=...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKEND "/opt/lab/soci/daemon"
#define LOADER "/opt/lab/soci/lib/ld.so"
#define LIBRARIES "/opt/lab/soci/lib"

static struct {
    const char *address, *config, *root, *log_level;
} options = {"/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock", "/etc/soci-snapshotter-grpc/config.toml",
             "/var/lib/soci-snapshotter-grpc", "info"};
static char backend_socket[108], backend_config[4096];
static char image_service[108]; /* where the CRI's images are served; empty without the keychain */
static pid_t backend;

static void fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("{\"level\":\"fatal\",\"msg\":\"", stderr);
    vfprintf(stderr, format, values);
    fputs("\"}\n", stderr);
    va_end(values);
    exit(1);
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *name = argv[i];
        while (*name == '-')
            name++;
        if (!strcmp(name, "version") || !strcmp(name, "v")) {
            printf("soci-snapshotter-grpc version v" SOCI_VERSION " 0123456789abcdef0123456789abcdef01234567\n");
            exit(0);
        }
        char *value = strchr(name, '=');
        if (value)
            *value++ = 0;
        else
            value = ++i < argc ? argv[i] : NULL;
        const char **slot = !strcmp(name, "address")     ? &options.address
                            : !strcmp(name, "config")    ? &options.config
                            : !strcmp(name, "root")      ? &options.root
                            : !strcmp(name, "log-level") ? &options.log_level
                                                         : NULL;
        if (!slot || !value) {
            fprintf(stderr, "flag provided but not defined, or without a value: -%s\n", name);
            exit(2);
        }
        *slot = value;
    }
}

/* The value of `key = "value"`, or NULL; cuts the line. */
static char *string_value(char *line, const char *key)
{
    line += strspn(line, " \t");
    size_t length = strlen(key);
    if (strncmp(line, key, length))
        return NULL;
    line += length;
    line += strspn(line, " \t");
    if (*line++ != '=')
        return NULL;
    line += strspn(line, " \t");
    char quote = *line++, *end = strchr(line, quote);
    if ((quote != '"' && quote != '\'') || !end)
        return NULL;
    *end = 0;
    return line;
}

/* Refuse what a current daemon refuses, and leave the old one a configuration without the keychain (it
 * speaks runtime.v1alpha2 alone) and without containerd's content store: at start it would wait for a
 * containerd that is not there yet, which a current one does not. */
static void check_config(void)
{
    FILE *file = fopen(options.config, "re"), *copy = fopen(backend_config, "we");
    if (!copy)
        fail("%s: %s", backend_config, strerror(errno));
    if (!file) { /* the real daemon takes its defaults */
        fclose(copy);
        return;
    }
    regex_t size;
    regcomp(&size, "^[[:space:]]*[0-9]+(\\.[0-9]+)?[[:space:]]*(gb|mb|kb|b)?[[:space:]]*$", REG_EXTENDED | REG_ICASE);
    char line[4096], service[108] = "", *value;
    int in_streams = 0, in_store = 0, keychain = 0;
    while (fgets(line, sizeof line, file)) {
        int enables = strstr(line, "enable_keychain") && strstr(line, "true");
        keychain |= enables;
        if (line[strspn(line, " \t")] == '[') {
            in_streams = strstr(line, "decompress_streams") != NULL;
            in_store = strstr(line, "[content_store]") != NULL;
        }
        fputs(enables || in_store ? "" : line, copy);
        if (line[strspn(line, " \t")] == '[')
            continue;
        if ((value = string_value(line, "concurrent_download_chunk_size")) && *value &&
                 regexec(&size, value, 0, NULL, 0))
            fail("failed to parse config: invalid concurrent_download_chunk_size %s", value);
        else if ((value = string_value(line, "image_service_path")))
            snprintf(service, sizeof service, "%s", value);
        else if (in_streams && (value = string_value(line, "path"))) {
            struct stat info;
            if (*value != '/')
                fail("decompress stream path %s is not absolute", value);
            if (stat(value, &info) || !S_ISREG(info.st_mode) || !(info.st_mode & 0111))
                fail("decompress stream path %s is not an executable regular file", value);
        }
    }
    fclose(file);
    fclose(copy);
    if (keychain)
        strcpy(image_service, service);
}

static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strcpy(to.sun_path, path);
    if (*path == '@')
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
           offsetof(struct sockaddr_un, sun_path) + strlen(path));
    close(fd);
}

static int dial(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to)) {
        close(fd);
        return -1;
    }
    return fd;
}

struct pair {
    int from, to;
};

static void *pump(void *argument)
{
    struct pair ends = *(struct pair *)argument;
    free(argument);
    char buffer[1 << 16];
    ssize_t got;
    while ((got = read(ends.from, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0, put; done < got; done += put)
            if ((put = send(ends.to, buffer + done, got - done, MSG_NOSIGNAL)) <= 0)
                goto end;
end:
    shutdown(ends.to, SHUT_WR);
    shutdown(ends.from, SHUT_RD);
    return NULL;
}

#define PREFACE 24

/* Whom the first request on a connection is for, once it has come: NULL before. Every client here keeps to
 * one service a connection. The path is plain or Huffman coded (RFC 7541); both forms of "/runtime." are told. */
static const char *destination(const unsigned char *data, size_t length)
{
    for (size_t at = PREFACE, size; at + 9 <= length; at += 9 + size) {
        size = data[at] << 16 | data[at + 1] << 8 | data[at + 2];
        if (data[at + 3] != 1) /* HEADERS */
            continue;
        if (at + 9 + size > length)
            return NULL;
        const unsigned char *block = data + at + 9;
        int images = memmem(block, size, "/runtime.", 9) || memmem(block, size, "\x62\xcb\x6a\x49\xa9\x2a", 6);
        return images && *image_service ? image_service : backend_socket;
    }
    return NULL;
}

static void *serve(void *argument)
{
    int client = (int)(long)argument, server = -1;
    unsigned char head[1 << 16];
    size_t length = 0;
    const char *to = NULL;
    /* An empty SETTINGS frame: clients wait for one before they ask for anything. */
    send(client, "\0\0\0\4\0\0\0\0\0", 9, MSG_NOSIGNAL);
    while (!to && length < sizeof head) {
        ssize_t got = read(client, head + length, sizeof head - length);
        if (got <= 0)
            break;
        length += got;
        to = destination(head, length);
    }
    if (to && (server = dial(to)) >= 0 && send(server, head, length, MSG_NOSIGNAL) == (ssize_t)length) {
        struct pair *up = malloc(sizeof *up), *down = malloc(sizeof *down);
        *up = (struct pair){client, server};
        *down = (struct pair){server, client};
        pthread_t other;
        pthread_create(&other, NULL, pump, up);
        pump(down);
        pthread_join(other, NULL);
    }
    if (server >= 0)
        close(server);
    close(client);
    return NULL;
}

static void *accept_all(void *argument)
{
    int listener = (int)(long)argument, mute = !backend;
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0 || mute) /* a mute daemon takes connections and says nothing */
            continue;
        pthread_t thread;
        pthread_create(&thread, NULL, serve, (void *)(long)client);
        pthread_detach(thread);
    }
    return NULL;
}

static void run_backend(const char *address)
{
    execl(LOADER, LOADER, "--library-path", LIBRARIES, BACKEND, "--address", address, "--config", backend_config,
          "--root", options.root, "--log-level", options.log_level, (char *)NULL);
    fail("%s: %s", LOADER, strerror(errno));
}

static void pass_on(int number)
{
    if (backend > 0)
        kill(backend, number);
    else
        _exit(0);
}

static void *die_later(void *argument)
{
    sleep((unsigned)(long)argument);
    if (backend > 0)
        kill(backend, SIGKILL);
    _exit(1);
}

static char fault[64];

/* Whether the fault `name` is on; its number through `value`. */
static int faulty(const char *name, long *value)
{
    size_t length = strlen(name);
    if (strncmp(fault, name, length) || (fault[length] && !strchr("= \n", fault[length])))
        return 0;
    if (strstr(fault, " unit") && !getenv("LISTEN_FDS"))
        return 0;
    if (value)
        *value = fault[length] == '=' ? atol(fault + length + 1) : 1;
    return 1;
}

static void read_fault(void)
{
    const char *named = getenv("SOCI_LAB_FAULT");
    if (named) {
        snprintf(fault, sizeof fault, "%s", named);
        return;
    }
    FILE *file = fopen("/opt/lab/soci-fault", "re");
    if (file) {
        if (!fgets(fault, sizeof fault, file))
            fault[0] = 0;
        fclose(file);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 64))
        fail("%s: %s", path, strerror(errno));
    return fd;
}

static int passed_socket(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || atoi(pid) != getpid() || atoi(count) < 1)
        fail("address fd:// without a socket passed by systemd");
    fcntl(3, F_SETFD, FD_CLOEXEC);
    return 3;
}

/* Private files of this program, below the daemon's root. */
static void name_files(void)
{
    char path[4096];
    for (const char *slash = options.root; (slash = strchr(slash + 1, '/'));) {
        snprintf(path, sizeof path, "%.*s", (int)(slash - options.root), options.root);
        mkdir(path, 0711);
    }
    mkdir(options.root, 0700);
    if (snprintf(backend_socket, sizeof backend_socket, "%s/.lab.sock", options.root) >= (int)sizeof backend_socket)
        fail("%s is too long", options.root);
    snprintf(backend_config, sizeof backend_config, "%s/.lab.toml", options.root);
}

static void start_backend(void)
{
    unlink(backend_socket);
    backend = fork();
    if (!backend) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        unsetenv("NOTIFY_SOCKET");
        run_backend(backend_socket);
    }
    int status, fd;
    while ((fd = dial(backend_socket)) < 0) {
        if (waitpid(backend, &status, WNOHANG) == backend)
            exit(1); /* it has said why */
        usleep(5000);
    }
    close(fd);
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    read_fault();
    long seconds = 0;
    if (faulty("exit", NULL))
        fail("told to fail");
    name_files();
    check_config();
    if (faulty("slow", &seconds))
        sleep((unsigned)seconds);
    if (faulty("never-ready", NULL))
        for (;;)
            pause();
    signal(SIGTERM, pass_on);
    signal(SIGINT, pass_on);
    int activated = !strcmp(options.address, "fd://");
    pthread_t thread;
    if (faulty("mute", NULL)) {
        notify("READY=1");
        accept_all((void *)(long)(activated ? passed_socket() : listen_at(options.address)));
    }
    int dying = faulty("die-after", &seconds);
    int listener = activated ? passed_socket() : listen_at(options.address);
    start_backend();
    pthread_create(&thread, NULL, accept_all, (void *)(long)listener);
    if (dying)
        pthread_create(&thread, NULL, die_later, (void *)seconds);
    notify("READY=1");
    int status;
    while (waitpid(backend, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
