/* Labels of documents: where a word of a text is a mark on all of it, in a header, a footer, a stamp. */
#ifndef WEIR_ROUTER_DETECT_LABEL_H
#define WEIR_ROUTER_DETECT_LABEL_H

#include "router/detect.h"

/* A label of the owner's: in capitals, or alone between line ends, brackets, colons, bars and dashes. */
bool detect_label_stands(struct str text, size_t start, size_t end);
/* A word that much else is called by, too ("SECRET", "Confidential"): in capitals and alone on its line,
 * between bars or dashes, or in brackets that begin a line; or with one capital, alone on a line among
 * others. */
bool detect_label_stamped(struct str text, size_t start, size_t end);

#endif
