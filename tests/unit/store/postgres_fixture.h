/* A real PostgreSQL for a test, on a socket of its own. */
#ifndef WEIR_TESTS_POSTGRES_FIXTURE_H
#define WEIR_TESTS_POSTGRES_FIXTURE_H

#include "unit/store/store_fixture.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <postgresql/libpq-fe.h>
#include <sys/wait.h>

static char server_dir[64], server_bin[256], server_url[128];

/* PostgreSQL refuses to run as root. */
static inline bool run_as_nobody(const char *command)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
            _exit(126);
        int log = open("/dev/null", O_RDWR);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static inline bool server_control(const char *what)
{
    char command[700];
    snprintf(command, sizeof command,
        "%s/pg_ctl -D %s/data -w -t 60 -l %s/log -o \"-k %s -c listen_addresses='' -c fsync=off\" %s",
        server_bin, server_dir, server_dir, server_dir, what);
    return run_as_nobody(command);
}

static inline bool server_find(void)
{
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0)
        return false;
    snprintf(server_bin, sizeof server_bin, "%s", found.gl_pathv[found.gl_pathc - 1]);
    *strrchr(server_bin, '/') = '\0';
    globfree(&found);
    return true;
}

static inline bool server_start(void)
{
    char command[512];
    strcpy(server_dir, "/tmp/weir-pg-XXXXXX");
    if (!mkdtemp(server_dir) || chmod(server_dir, 0777))
        return false;
    snprintf(command, sizeof command,
        "%s/initdb -D %s/data -U weir --auth=trust --no-sync -E UTF8 --locale=C", server_bin, server_dir);
    snprintf(server_url, sizeof server_url, "postgresql:///postgres?host=%s&user=weir", server_dir);
    return run_as_nobody(command) && server_control("start");
}

static inline void server_end(void)
{
    char command[256];
    (void)server_control("stop -m immediate");
    snprintf(command, sizeof command, "rm -rf %s/data %s/log", server_dir, server_dir);
    (void)run_as_nobody(command);
    rmdir(server_dir);
}

static inline void server_sql(const char *sql)
{
    PGconn *c = PQconnectdb(server_url);
    assert_int_equal(PQstatus(c), CONNECTION_OK);
    PGresult *r = PQexec(c, sql);
    assert_true(PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK);
    PQclear(r);
    PQfinish(c);
}

/* An empty state there. */
static inline int server_up(void **state)
{
    if (fixture_up(state))
        return -1;
    struct fixture *f = *state;
    server_sql("SET client_min_messages = error; DROP SCHEMA IF EXISTS weir CASCADE");
    snprintf(f->url, sizeof f->url, "%s", server_url);
    return 0;
}

/* Runs the tests with a server, where one is installed; how many failed. */
static inline int server_run(const struct CMUnitTest *tests, size_t n)
{
    int failed = 0;
    if (!server_find()) {
        print_message("skipped: PostgreSQL is not installed\n");
        return 0;
    }
    if (server_start())
        failed = _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
    else
        print_error("PostgreSQL did not start: see %s/log\n", server_dir), failed++;
    server_end();
    return failed;
}

#endif
