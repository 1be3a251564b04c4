/* Runs a program and numbers its system calls on the files below a directory; at one of them it kills the
 * program, or lets the call fail.
 *
 *     tracer ROOT ACTION [N] -- PROGRAM [ARGUMENT …]
 *
 * ACTION is `count`; `before` or `after` (SIGKILL before or after call N); or `once:ERROR` or `ever:ERROR` (call N, or it
 * and every later one of the kinds that can fail so, returns -ERROR), `short` (a write of N writes half).
 * Each call is a line on file descriptor 3: number, name, path (of a rename, the new one). After each fsync the tracer
 * waits for a byte on file descriptor 4, where that is open, so that its caller can keep what is durable by now.
 * It exits as the program does, with 137 after a kill.
 *
 * Calls are numbered over all threads, in the order in which they begin. Needs Linux on x86-64.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where a call says which file it is about: a path that is its argument `path`, below the directory that is its
 * argument `at`; or the file descriptor that is its first argument. */
enum { NONE = -1, FD = -2 };

struct call {
    int number;
    const char *name;
    int at, path;
    int fails;     /* Whether a disk can make it fail so that the program hears of it. */
};

static const struct call calls[] = {
    {SYS_open, "open", NONE, 0, 1},         {SYS_openat, "openat", 0, 1, 1},
    {SYS_creat, "creat", NONE, 0, 1},       {SYS_read, "read", NONE, FD, 1},
    {SYS_pread64, "pread", NONE, FD, 1},    {SYS_write, "write", NONE, FD, 1},
    {SYS_pwrite64, "pwrite", NONE, FD, 1},  {SYS_writev, "writev", NONE, FD, 1},
    {SYS_fsync, "fsync", NONE, FD, 1},      {SYS_fdatasync, "fdatasync", NONE, FD, 1},
    {SYS_ftruncate, "ftruncate", NONE, FD, 1}, {SYS_fallocate, "fallocate", NONE, FD, 1},
    {SYS_rename, "rename", NONE, 1, 1},     {SYS_renameat, "renameat", 2, 3, 1},
    {SYS_renameat2, "renameat2", 2, 3, 1},  {SYS_unlink, "unlink", NONE, 0, 1},
    {SYS_unlinkat, "unlinkat", 0, 1, 1},    {SYS_rmdir, "rmdir", NONE, 0, 1},
    {SYS_mkdir, "mkdir", NONE, 0, 1},       {SYS_mkdirat, "mkdirat", 0, 1, 1},
    {SYS_link, "link", NONE, 1, 1},         {SYS_linkat, "linkat", 2, 3, 1},
    {SYS_symlink, "symlink", NONE, 1, 1},   {SYS_symlinkat, "symlinkat", 1, 2, 1},
    {SYS_getdents64, "getdents", NONE, FD, 1}, {SYS_flock, "flock", NONE, FD, 1},
    {SYS_close, "close", NONE, FD, 0},      {SYS_lseek, "lseek", NONE, FD, 1},
    {SYS_statx, "statx", 0, 1, 1},          {SYS_newfstatat, "stat", 0, 1, 1},
    {SYS_fstat, "fstat", NONE, FD, 1},      {SYS_copy_file_range, "copy_file_range", NONE, FD, 1},
};
enum { CALLS = sizeof calls / sizeof *calls };

static char root[PATH_MAX];
static enum { COUNT, BEFORE, AFTER, ONCE, EVER, SHORT } action;
static long target = -1, counted;
static int error_number;
static pid_t child;

static void die(const char *what) { perror(what); exit(70); }

/* Stops the program at these calls and at no other. */
static void install_filter(void) {
    struct sock_filter code[CALLS + 5];
    int n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < CALLS; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, CALLS - i, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {(unsigned short)n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        die("seccomp");
}

static unsigned long long argument(const struct user_regs_struct *regs, int n) {
    switch (n) {
    case 0: return regs->rdi;
    case 1: return regs->rsi;
    case 2: return regs->rdx;
    case 3: return regs->r10;
    default: return regs->r8;
    }
}

static void read_link(pid_t pid, const char *what, long long n, char *to) {
    char link[64];
    if (n < 0) snprintf(link, sizeof link, "/proc/%d/%s", pid, what);
    else snprintf(link, sizeof link, "/proc/%d/%s/%lld", pid, what, n);
    ssize_t length = readlink(link, to, PATH_MAX - 1);
    to[length < 0 ? 0 : length] = 0;
}

static void read_string(pid_t pid, unsigned long long address, char *to) {
    struct iovec here = {to, PATH_MAX - 1}, there = {(void *)address, PATH_MAX - 1};
    /* The string may end close to a page that is not there. */
    while (there.iov_len > 0 && process_vm_readv(pid, &here, 1, &there, 1, 0) < 0) there.iov_len /= 2;
    to[PATH_MAX - 1] = 0;
}

/* The path that a call is about, or "". */
static void path_of(pid_t pid, const struct call *call, const struct user_regs_struct *regs, char *to) {
    if (call->path == FD) {
        read_link(pid, "fd", (int)argument(regs, 0), to);
        return;
    }
    char name[PATH_MAX], base[PATH_MAX];
    read_string(pid, argument(regs, call->path), name);
    if (name[0] == '/') {
        strcpy(to, name);
        return;
    }
    int at = call->at == NONE ? AT_FDCWD : (int)argument(regs, call->at);
    if (at == AT_FDCWD) read_link(pid, "cwd", -1, base);
    else read_link(pid, "fd", at, base);
    if (name[0] == 0) strcpy(to, base);
    else if (snprintf(to, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) to[0] = 0;
}

static int is_below_root(const char *path) {
    size_t length = strlen(root);
    return !strncmp(path, root, length) && (path[length] == 0 || path[length] == '/');
}

static int is_write(const struct call *call) {
    return call->number == SYS_write || call->number == SYS_pwrite64;
}

/* What is to be done at a call that the filter has stopped. Returns 1 if the program is dead. */
static int at_call(pid_t pid) {
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, pid, 0, &regs)) return 0;
    const struct call *call = NULL;
    for (int i = 0; i < CALLS; i++)
        if ((long long)regs.orig_rax == calls[i].number) call = &calls[i];
    char path[PATH_MAX];
    if (!call) return ptrace(PTRACE_CONT, pid, 0, 0), 0;
    path_of(pid, call, &regs, path);
    if (!is_below_root(path)) return ptrace(PTRACE_CONT, pid, 0, 0), 0;
    long number = ++counted;
    dprintf(3, "%ld %s %s\n", number, call->name, path);
    if (action == BEFORE && number == target) return kill(child, SIGKILL), 1;
    int fails = call->fails && (action == ONCE ? number == target : action == EVER && number >= target);
    if (fails) regs.orig_rax = (unsigned long long)-1;
    if (action == SHORT && number == target && is_write(call) && regs.rdx > 1) regs.rdx /= 2;
    if (fails || action == SHORT) ptrace(PTRACE_SETREGS, pid, 0, &regs);
    int syncs = call->number == SYS_fsync || call->number == SYS_fdatasync;
    if (!fails && !(action == AFTER && number == target) && !syncs)
        return ptrace(PTRACE_CONT, pid, 0, 0), 0;
    /* On to the end of the call. */
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
    int status;
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) return 0;
    if (fails) {
        ptrace(PTRACE_GETREGS, pid, 0, &regs);
        regs.rax = (unsigned long long)-(long long)error_number;
        ptrace(PTRACE_SETREGS, pid, 0, &regs);
    } else if (syncs) {
        char go;
        dprintf(3, "%ld synced %s\n", number, path);
        if (read(4, &go, 1) < 0 && errno != EBADF) die("descriptor 4");
    }
    if (action == AFTER && number == target) return kill(child, SIGKILL), 1;
    ptrace(PTRACE_CONT, pid, 0, 0);
    return 0;
}

static void parse(char **arguments) {
    if (!realpath(arguments[1], root)) die(arguments[1]);
    const char *name = arguments[2], *colon = strchr(name, ':');
    if (!strcmp(name, "count")) action = COUNT;
    else if (!strcmp(name, "before")) action = BEFORE;
    else if (!strcmp(name, "after")) action = AFTER;
    else if (!strcmp(name, "short")) action = SHORT;
    else if (colon && !strncmp(name, "once", 4)) action = ONCE;
    else if (colon && !strncmp(name, "ever", 4)) action = EVER;
    else {
        fprintf(stderr, "tracer: unknown action %s\n", name);
        exit(64);
    }
    if (colon) error_number = atoi(colon + 1);
}

int main(int count, char **arguments) {
    if (count < 5) {
        fprintf(stderr, "usage: tracer ROOT ACTION [N] -- PROGRAM [ARGUMENT ...]\n");
        return 64;
    }
    parse(arguments);
    int at = 3;
    if (strcmp(arguments[at], "--")) target = atol(arguments[at++]);
    char **program = arguments + at + 1;
    child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        close(3);
        close(4);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        install_filter();
        execvp(program[0], program);
        die(program[0]);
    }
    int status, exit_code = 0;
    waitpid(child, &status, 0);
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, child, 0, options)) die("ptrace");
    ptrace(PTRACE_CONT, child, 0, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == child)
                exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        } else if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)) {
            at_call(pid);
        } else {
            /* Events of new threads and their first stops are ours; other signals are the program's. */
            int signal = WSTOPSIG(status);
            int ours = status >> 16 || signal == SIGSTOP || signal == (SIGTRAP | 0x80);
            ptrace(PTRACE_CONT, pid, 0, ours ? 0 : signal);
        }
    }
    return exit_code;
}
