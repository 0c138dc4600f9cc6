/* pause.c: the process that holds a pod's namespaces: it waits for SIGTERM, and for orphans. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_term(int number)
{
    (void)number;
    _exit(0);
}

int main(void)
{
    signal(SIGTERM, on_term);
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps what is left to us */
    for (;;)
        pause();
}
