/* Hugging Face's folders to GGUF files and back (weir convert, weir export): models, and adapters of PEFT.
 *
 *   config.json       --> keys          hf_config_write, hf_config_make
 *   tokenizer.*       --> tokenizer.*   hf_tokens_write, hf_tokens_make
 *   *.safetensors     --> tensors       each a hf_source, poured */
#ifndef WEIR_TRAIN_HF_CONVERT_H
#define WEIR_TRAIN_HF_CONVERT_H

#include "train/pour.h"
#include "train/quantize.h"

struct hf_job {
    const char *from, *to; /* a folder and a file, or a file and a folder */
    const char *base;      /* of an adapter: its model, a folder or a file; NULL: as the adapter says */
    const char *pre;       /* a pre-tokenizer that is not known; NULL: it must be */
    const char *name;      /* general.name; NULL: as the folder is called */
    const struct quantize_mix *mix; /* what matrices become; NULL: what they are */
    uint64_t shard;                 /* bytes of a .safetensors file, about */
    struct pour pour;               /* its team and watch */
    size_t tensors;                 /* that were written, when it is done */
    uint64_t bytes;
};

/* general.name: the job's, or what the folder is called. */
struct str hf_job_name(const struct hf_job *job);

int hf_convert(struct hf_job *job, struct error *err) MUST_USE;
int hf_convert_adapter(struct hf_job *job, struct error *err) MUST_USE;
int hf_export(struct hf_job *job, struct error *err) MUST_USE;
/* hf_export calls it where the file is an adapter. */
int hf_export_adapter(struct hf_job *job, const struct gguf *g, struct error *err) MUST_USE;

#endif
