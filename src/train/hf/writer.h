/* Writing safetensors: one file, or several with an index where it would be too large. */
#ifndef WEIR_TRAIN_HF_WRITER_H
#define WEIR_TRAIN_HF_WRITER_H

#include "train/pour.h"

/* FOLDER/NAME.safetensors, or NAME-00001-of-0000N.safetensors of about `shard` bytes each and then their
 * index; what an earlier export left of that name goes. Wide values stand first, so that each is at a
 * multiple of its width. The tensors' types are those of safetensors_type_name. */
int safetensors_write(const struct pour *pour, const struct pour_tensor *tensors, size_t n,
    const char *folder, const char *name, uint64_t shard, struct error *err) MUST_USE;

#endif
