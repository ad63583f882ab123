/* Where `weir pull` puts models and `weir rm` removes them. */
#ifndef WEIR_APP_VERB_MODELS_DIR_H
#define WEIR_APP_VERB_MODELS_DIR_H

#include "base/arena.h"
#include "base/str.h"

/* --dir, else the configuration's models_dir, else "models"; in the arena. EXIT_DONE, or the exit code after
 * having said what is wrong. */
int verb_models_dir(const char *dir, const char *config, struct arena *a, struct str *out);

#endif
