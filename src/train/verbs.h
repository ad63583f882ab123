/* The verbs of weir-train. argv[0] is the verb; returns the exit code: 0 done, 1 failed, 2 wrong usage. */
#ifndef WEIR_TRAIN_VERBS_H
#define WEIR_TRAIN_VERBS_H

int train_verb(int argc, char **argv);
int finetune_verb(int argc, char **argv);
int quantize_verb(int argc, char **argv);
int convert_verb(int argc, char **argv);
int export_verb(int argc, char **argv);
int merge_verb(int argc, char **argv);
int perplexity_verb(int argc, char **argv);
int imatrix_verb(int argc, char **argv);

#endif
