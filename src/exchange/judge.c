#include "exchange/judge.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/must.h"

struct judge {
    pthread_mutex_t mutex; /* guards the three below */
    pthread_cond_t wake;
    struct list jobs;
    bool stop;
    int n_threads;
    pthread_t threads[];
};

struct judge_job {
    struct list link; /* in `jobs` until a thread takes it */
    struct router_ahead *ahead;
    struct exchange_world *world; /* whose policy it is judged by */
    struct loop *loop;
    void (*told)(void *ctx); /* the loop's; NULL: it was left */
    void *ctx;
};

static void job_free(struct judge_job *job)
{
    router_ahead_free(job->ahead);
    exchange_world_unref(job->world);
    free(job);
}

static void on_judged(void *ctx)
{
    struct judge_job *job = ctx;
    if (job->told)
        job->told(job->ctx);
    job_free(job);
}

/* The next one; NULL: the end. */
static struct judge_job *job_wait(struct judge *j)
{
    struct judge_job *job = NULL;
    pthread_mutex_lock(&j->mutex);
    while (!j->stop && list_empty(&j->jobs))
        pthread_cond_wait(&j->wake, &j->mutex);
    if (!j->stop) {
        job = list_item(j->jobs.next, struct judge_job, link);
        list_remove(&job->link);
    }
    pthread_mutex_unlock(&j->mutex);
    return job;
}

static void *judge_main(void *ctx)
{
    struct judge *j = ctx;
    for (struct judge_job *job; (job = job_wait(j)) != NULL;) {
        router_ahead_judge(job->ahead);
        loop_post(job->loop, on_judged, job);
    }
    return NULL;
}

int judge_create(int threads, struct judge **out, struct error *err)
{
    struct judge *j = must(calloc(1, sizeof *j + (size_t)threads * sizeof j->threads[0]));
    sigset_t all, before;
    pthread_mutex_init(&j->mutex, NULL);
    pthread_cond_init(&j->wake, NULL);
    list_init(&j->jobs);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* they are the home loop's */
    while (j->n_threads < threads && pthread_create(&j->threads[j->n_threads], NULL, judge_main, j) == 0)
        j->n_threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    *out = j;
    return j->n_threads == threads
               ? 0
               : error_set(err, ERROR_MEMORY,
                     "cannot start a thread that judges long texts: raise the limit (ulimit -u)");
}

void judge_free(struct judge *j)
{
    if (!j)
        return;
    pthread_mutex_lock(&j->mutex);
    j->stop = true;
    pthread_cond_broadcast(&j->wake);
    pthread_mutex_unlock(&j->mutex);
    for (int i = 0; i < j->n_threads; i++)
        pthread_join(j->threads[i], NULL);
    list_each(node, after, &j->jobs) {
        struct judge_job *job = list_item(node, struct judge_job, link);
        list_remove(&job->link);
        loop_post(job->loop, on_judged, job); /* on its own loop, as any other */
    }
    pthread_mutex_destroy(&j->mutex);
    pthread_cond_destroy(&j->wake);
    free(j);
}

struct judge_job *judge_begin(struct judge *j, struct router_ahead *ahead, struct exchange_world *world,
    struct loop *loop, void (*told)(void *ctx), void *ctx)
{
    struct judge_job *job = must(calloc(1, sizeof *job));
    *job = (struct judge_job){
        .ahead = ahead, .world = exchange_world_ref(world), .loop = loop, .told = told, .ctx = ctx};
    pthread_mutex_lock(&j->mutex);
    list_push_back(&j->jobs, &job->link);
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->mutex);
    return job;
}

void judge_leave(struct judge *j, struct judge_job *job)
{
    pthread_mutex_lock(&j->mutex);
    bool waits = !list_empty(&job->link);
    list_remove(&job->link);
    pthread_mutex_unlock(&j->mutex);
    job->told = NULL;
    if (waits) /* else a thread has it, or the loop will soon */
        job_free(job);
}
