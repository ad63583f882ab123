/* For the main of a program that goes behind walls. The leak checker traces its own process, which they
 * forbid; unit tests look for leaks outside them. */
#ifndef WEIR_ENGINE_WORKER_SANDBOX_LEAKS_H
#define WEIR_ENGINE_WORKER_SANDBOX_LEAKS_H

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}
#endif

#endif
