#!/usr/bin/python3
"""Writes tests/unit/train/reference_torch.h: what PyTorch (Debian's python3-torch), in doubles and by its own
differentiation and AdamW, makes of tiny models that reference_test makes of the same weights and examples.

    tests/vectors/train/make.py >tests/unit/train/reference_torch.h

The models are written here as their authors publish them (rotation of halves, weights in the folder's order of
rows); only weights, tokens and schedule are the test's."""
import math
import torch

LAYERS, EMBED, HEADS, KV_HEADS, WIDTH, FF, VOCAB, EPS, BASE = 4, 24, 4, 2, 6, 20, 41, 1e-5, 10000.0
STEPS, RATE, FINAL, WARMUP, DECAY, BETAS, CLIP, PROMPT = 10, 0.01, 0.1, 3, 0.1, (0.9, 0.95), 1.0, 0.25
EXAMPLES = (5, 23, 11, 2, 17, 30)


def mixed(name, i):
    """A value of [-1, 1) that a float holds exactly, by the name and the place."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    x = h ^ (i * 0x9E3779B9 & 0xFFFFFFFF)
    x = (x ^ x >> 16) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x846CA68B & 0xFFFFFFFF
    return ((x ^ x >> 16) >> 8) / 2**23 - 1


def shapes(family):
    yield 'token_embd.weight', (VOCAB, EMBED)
    for i in range(LAYERS):
        block = {'attn_norm.weight': (EMBED,), 'attn_q.weight': (HEADS * WIDTH, EMBED),
                 'attn_k.weight': (KV_HEADS * WIDTH, EMBED), 'attn_v.weight': (KV_HEADS * WIDTH, EMBED),
                 'attn_output.weight': (EMBED, HEADS * WIDTH), 'ffn_norm.weight': (EMBED,),
                 'ffn_gate.weight': (FF, EMBED), 'ffn_up.weight': (FF, EMBED), 'ffn_down.weight': (EMBED, FF)}
        if family == 'qwen2':
            block |= {'attn_q.bias': (HEADS * WIDTH,), 'attn_k.bias': (KV_HEADS * WIDTH,),
                      'attn_v.bias': (KV_HEADS * WIDTH,)}
        if family == 'qwen3':
            block |= {'attn_q_norm.weight': (WIDTH,), 'attn_k_norm.weight': (WIDTH,)}
        for name, shape in block.items():
            yield f'blk.{i}.{name}', shape
    yield 'output_norm.weight', (EMBED,)


def weights(family):
    out = {}
    for name, shape in shapes(family):
        u = torch.tensor([mixed(name, i) for i in range(math.prod(shape))], dtype=torch.float64).reshape(shape)
        out[name] = (1 + u / 2 if 'norm' in name else u / 2).requires_grad_()
    return out


class Product(torch.autograd.Function):
    """a @ b of what bfloat16 holds of both, and likewise on the way back."""
    @staticmethod
    def forward(ctx, a, b):
        a, b = rounded(a), rounded(b)
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        g = rounded(g)
        return g @ b.transpose(-1, -2), a.transpose(-1, -2) @ g


def rounded(x):
    return x.float().bfloat16().double()


def norm(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * w


def rotate(x):
    """Of [tokens, heads, WIDTH], by position."""
    half = WIDTH // 2
    angles = torch.outer(torch.arange(x.shape[0], dtype=torch.float64),
                         BASE ** (-torch.arange(half, dtype=torch.float64) * 2 / WIDTH))
    cos, sin = angles.cos().repeat(1, 2)[:, None], angles.sin().repeat(1, 2)[:, None]
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def folder_rows(w, heads, family):
    """A llama file has the rows that are rotated together as neighbours."""
    return w if family != 'llama' else w.reshape(heads, WIDTH // 2, 2, EMBED).transpose(1, 2).reshape(w.shape)


def logits(w, family, tokens, half):
    product = Product.apply if half else torch.matmul
    x = w['token_embd.weight'][tokens]
    n = len(tokens)
    unseen = torch.full((n, n), -math.inf, dtype=torch.float64).triu(1)
    for i in range(LAYERS):
        at = lambda name: w.get(f'blk.{i}.{name}')
        project = lambda h, name, heads, rows: (
            product(h, rows.T) + (at(f'{name}.bias') if at(f'{name}.bias') is not None else 0)).reshape(n, heads, WIDTH)
        h = norm(x, at('attn_norm.weight'))
        q = project(h, 'attn_q', HEADS, folder_rows(at('attn_q.weight'), HEADS, family))
        k = project(h, 'attn_k', KV_HEADS, folder_rows(at('attn_k.weight'), KV_HEADS, family))
        v = project(h, 'attn_v', KV_HEADS, at('attn_v.weight'))
        if family == 'qwen3':
            q, k = norm(q, at('attn_q_norm.weight')), norm(k, at('attn_k_norm.weight'))
        q, k = rotate(q).transpose(0, 1), rotate(k).transpose(0, 1)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 0) for t in (k, v.transpose(0, 1)))
        p = torch.softmax(product(q, k.transpose(1, 2)) / math.sqrt(WIDTH) + unseen, -1)
        x = x + product(product(p, v).transpose(0, 1).reshape(n, -1), at('attn_output.weight').T)
        h = norm(x, at('ffn_norm.weight'))
        gate, up = (product(h, at(f'ffn_{name}.weight').T) for name in ('gate', 'up'))
        x = x + product(torch.nn.functional.silu(gate) * up, at('ffn_down.weight').T)
    return product(norm(x, w['output_norm.weight']), w['token_embd.weight'].T)


def examples():
    """Tokens, and what each counts: those of the prompt, a third, PROMPT; one in four of the others three times."""
    at = 0
    for length in EXAMPLES:
        tokens = [int((mixed('tokens', at + i) + 1) / 2 * VOCAB) for i in range(length)]
        learned = [0 if i < length / 3 else 3 if mixed('learned', at + i) < -0.5 else 1 for i in range(length)]
        yield torch.tensor(tokens), torch.tensor([float(n or PROMPT) for n in learned[1:]], dtype=torch.float64)
        at += length


def loss_of(w, family, half):
    total, weight = 0, 0
    for tokens, counts in examples():
        each = torch.nn.functional.cross_entropy(
            logits(w, family, tokens, half)[:-1], tokens[1:], reduction='none')
        total, weight = total + (each * counts).sum(), weight + counts.sum()
    return total / weight


def rate_of(step):
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    done = (step - WARMUP) / (STEPS - WARMUP)
    return RATE * (FINAL + (1 - FINAL) * (1 + math.cos(math.pi * done)) / 2)


def along(x):
    signs = torch.tensor([1.0 if mixed('signs', i) < 0 else -1.0 for i in range(x.numel())], dtype=torch.float64)
    return float((x.reshape(-1) * signs).sum())


def steps(family, half):
    w = weights(family)
    matrices = [t for t in w.values() if t.dim() > 1]
    vectors = [t for t in w.values() if t.dim() == 1]
    adam = torch.optim.AdamW([{'params': matrices, 'weight_decay': DECAY}, {'params': vectors, 'weight_decay': 0}],
                             betas=BETAS, eps=1e-8)
    losses, norms, tensors = [], [], []
    for step in range(STEPS):
        for group in adam.param_groups:
            group['lr'] = rate_of(step)
        adam.zero_grad()
        loss = loss_of(w, family, half)
        loss.backward()
        if step == 0:
            tensors = [(name, float(t.grad.norm()), along(t.grad)) for name, t in w.items()]
        losses.append(float(loss))
        norms.append(float(torch.nn.utils.clip_grad_norm_(w.values(), CLIP)))
        adam.step()
    losses.append(float(loss_of(w, family, half)))
    return losses, norms, tensors


def run(family):
    losses, norms, tensors = steps(family, False)
    half_losses, half_norms, _ = steps(family, True)
    numbers = lambda list: ', '.join(f'{x:.9g}' for x in list)
    print(f'    {{.family = "{family}",')
    for name, list in zip(('losses', 'norms', 'half_losses', 'half_norms'), (losses, norms, half_losses, half_norms)):
        print(f'        .{name} = {{{numbers(list)}}},')
    print('        .gradients = {' + ',\n            '.join(f'{{"{n}", {a:.9g}, {b:.9g}}}' for n, a, b in tensors) + '}},')


print(f'''/* Made by tests/vectors/train/make.py with PyTorch {torch.__version__}; not to be edited. */
// clang-format off
enum {{ REFERENCE_STEPS = {STEPS}, REFERENCE_GRADIENTS = 64 }};
static const int reference_examples[] = {{{', '.join(map(str, EXAMPLES))}}};
static const struct reference {{
    const char *family;
    /* Before each step, and of the loss after the last; the same with products of bfloat16. */
    double losses[REFERENCE_STEPS + 1], norms[REFERENCE_STEPS];
    double half_losses[REFERENCE_STEPS + 1], half_norms[REFERENCE_STEPS];
    struct {{
        const char *name;
        double norm, along; /* of the first gradient: its length, and its sum with the signs of mixed("signs") */
    }} gradients[REFERENCE_GRADIENTS];
}} references[] = {{''')
for name in ('llama', 'qwen2', 'qwen3'):
    run(name)
print('};\n// clang-format on')
