/* Any bytes as a whole configuration file: it is read and its rules are compiled, or an error says why not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/config.h"
#include "base/log.h"
#include "detector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    const struct config_overrides none = {0};
    struct config *config;
    struct router_policy *policy;
    struct error err = {0};
    char path[64];
    if (fd < 0) {
        fd = memfd_create("config", MFD_CLOEXEC);
        setenv("SECRET", "something secret", 1);
        log_set_level(LOG_ERROR);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (config_policy_load(str_from(path), &none, &config, &policy, &err) == 0) {
        router_policy_free(policy);
        config_free(config);
    } else if (!err.message[0]) {
        abort();
    }
    return 0;
}
