"""The inside of ``memory_triton``: one program scans one row of the memory, chunk after chunk.

Imports triton, so nothing but ``memory_triton`` imports this, and only where triton is.

Tokens are rows here, ``x W``. A row's state lies in global memory as its parts W1 (width, hidden),
W2 (hidden, width), and with momentum S1 and S2 of the same shapes; it is small enough to stay in
the L2 cache. A chunk takes it in blocks of the hidden width: a block of all parts is loaded, used
for everything it is needed for, and stored. Names are those of README.md, with 1 and 2 for the
layers, ``_bar`` for cotangents and ``q`` for what belongs to reads.
"""

# Triton compiles these functions from their source, and their annotations are its own.
# mypy: ignore-errors

import triton
import triton.language as tl

from titans_ts.ops.memory_net import MOST_ERROR

__all__ = ["backward_kernel", "forward_kernel"]

MOST_SQUARE = tl.constexpr(MOST_ERROR**2)


@triton.jit
def _dot(left, right, PRODUCT: tl.constexpr, INTERPRETED: tl.constexpr):
    """A product of operands rounded to ``PRODUCT``, summed in float32."""
    left, right = left.to(PRODUCT), right.to(PRODUCT)
    if INTERPRETED:
        # The interpreter holds bfloat16 as integers, and would multiply those.
        return tl.dot(left.to(tl.float32), right.to(tl.float32), input_precision="ieee")
    return tl.dot(left, right)


@triton.jit
def _slope(x, gate):
    """The derivative of SiLU; ``gate`` is the sigmoid of x."""
    return gate * (1.0 + x * (1.0 - gate))


@triton.jit
def _share(e, D: tl.constexpr):
    """What of each token's error is written, (C, 1): see ``memory_net.bound_error``."""
    square = tl.sum(e * e, 1)[:, None] / D
    return tl.where(square > MOST_SQUARE, MOST_SQUARE / square, 1.0)


@triton.jit
def _written(errors, D: tl.constexpr):
    """A chunk's errors as they are written, (C, D)."""
    e = tl.load(errors)
    return e * _share(e, D)


@triton.jit
def forward_kernel(
    queries,
    keys,
    values,
    reads,
    errors,  # (rows, time, width): of the last layer, unbounded, for the backward pass
    state,  # (slots, rows, parts, width * hidden)
    start,
    pushed,
    writes,
    weights,
    buffer,
    start_end,
    pushed_end,
    fade_end,
    n_rows,
    n_time,
    first_chunk,
    n_chunks,
    slot_step,  # 1: each chunk's start has a slot of its own; 0: all have the same
    C: tl.constexpr,
    D: tl.constexpr,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
    MOMENTUM: tl.constexpr,
    READ: tl.constexpr,
    PRODUCT: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Write a stretch of chunks, and with ``READ`` read after each token."""
    PARTS: tl.constexpr = 4 if MOMENTUM else 2
    row = tl.program_id(0).to(tl.int64)  # offsets may pass 2^31
    c, d, b = tl.arange(0, C), tl.arange(0, D), tl.arange(0, BLOCK)
    token = c[:, None] * D + d[None, :]
    pair = c[None, :] * C + c[:, None]  # the table has writes down, reads across
    wide = d[:, None] * M + b[None, :]
    narrow = b[:, None] * D + d[None, :] + D * M
    for n in range(n_chunks):
        at = (row * n_time + (first_chunk + n) * C) * D
        one = n * 2 * n_rows + row  # tables of the first layer
        two = one + n_rows
        old = state + (row + n * slot_step * n_rows) * (PARTS * D * M)
        new = state + (row + (n + 1) * slot_step * n_rows) * (PARTS * D * M)
        k = tl.load(keys + at + token)
        o = tl.zeros([C, D], tl.float32)
        for j in range(0, M, BLOCK):
            z = _dot(k, tl.load(old + wide + j), PRODUCT, INTERPRETED)
            h = z * tl.sigmoid(z)
            o += _dot(h, tl.load(old + narrow + j * D), PRODUCT, INTERPRETED)
        e = 2.0 * (o - tl.load(values + at + token))
        tl.store(errors + at + token, e)
        e *= _share(e, D)

        a1 = tl.load(weights + one * C + c)[:, None]
        a2e = tl.load(weights + two * C + c)[:, None] * e
        beta1, beta2 = tl.load(start_end + one), tl.load(start_end + two)
        if MOMENTUM:
            r1 = tl.load(buffer + one * C + c)[:, None]
            r2e = tl.load(buffer + two * C + c)[:, None] * e
            gamma1, gamma2 = tl.load(pushed_end + one), tl.load(pushed_end + two)
            rho1, rho2 = tl.load(fade_end + one), tl.load(fade_end + two)
        if READ:
            q = tl.load(queries + at + token)
            p = _dot(q, tl.trans(k), PRODUCT, INTERPRETED) * tl.load(writes + one * (C * C) + pair)
            b1 = tl.load(start + one * C + c)[:, None]
            b2 = tl.load(start + two * C + c)[:, None]
            if MOMENTUM:
                d1 = tl.load(pushed + one * C + c)[:, None]
                d2 = tl.load(pushed + two * C + c)[:, None]
            scores = tl.zeros([C, C], tl.float32)
            y = tl.zeros([C, D], tl.float32)
        for j in range(0, M, BLOCK):
            w1 = tl.load(old + wide + j)
            w2 = tl.load(old + narrow + j * D)
            z = _dot(k, w1, PRODUCT, INTERPRETED)
            gate = tl.sigmoid(z)
            h = z * gate
            dl = _dot(e, tl.trans(w2), PRODUCT, INTERPRETED) * _slope(z, gate)
            if READ:
                zq = b1 * _dot(q, w1, PRODUCT, INTERPRETED) - _dot(p, dl, PRODUCT, INTERPRETED)
            if MOMENTUM:
                s1 = tl.load(old + 2 * D * M + wide + j)
                s2 = tl.load(old + 2 * D * M + narrow + j * D)
                if READ:
                    zq += d1 * _dot(q, s1, PRODUCT, INTERPRETED)
            if READ:
                hq = zq * tl.sigmoid(zq)
                scores += _dot(hq, tl.trans(h), PRODUCT, INTERPRETED)
                y += b2 * _dot(hq, w2, PRODUCT, INTERPRETED)
                if MOMENTUM:
                    y += d2 * _dot(hq, s2, PRODUCT, INTERPRETED)
            w1 = beta1 * w1 - _dot(tl.trans(k), a1 * dl, PRODUCT, INTERPRETED)
            w2 = beta2 * w2 - _dot(tl.trans(h), a2e, PRODUCT, INTERPRETED)
            if MOMENTUM:
                w1 += gamma1 * s1
                w2 += gamma2 * s2
                s1 = rho1 * s1 - _dot(tl.trans(k), r1 * dl, PRODUCT, INTERPRETED)
                s2 = rho2 * s2 - _dot(tl.trans(h), r2e, PRODUCT, INTERPRETED)
                tl.store(new + 2 * D * M + wide + j, s1)
                tl.store(new + 2 * D * M + narrow + j * D, s2)
            tl.store(new + wide + j, w1)
            tl.store(new + narrow + j * D, w2)
        if READ:
            scores *= tl.load(writes + two * (C * C) + pair)
            tl.store(reads + at + token, y - _dot(scores, e, PRODUCT, INTERPRETED))
        # Other threads of this program are about to load what was stored here.
        tl.debug_barrier()


@triton.jit
def backward_kernel(
    queries,
    keys,
    errors,
    reads_bar,
    state,  # (chunks, rows, parts, width * hidden): before each chunk
    queries_bar,
    keys_bar,
    values_bar,
    state_bar,  # (rows, parts, width * hidden): after the chunks; overwritten by before them
    scratch,  # (rows, C, M)
    pairs,  # (rows, 2, C, C): scratch as well
    start,
    pushed,
    writes,
    weights,
    buffer,
    start_end,
    pushed_end,
    fade_end,
    start_bar,
    pushed_bar,
    writes_bar,
    weights_bar,
    buffer_bar,
    start_end_bar,
    pushed_end_bar,
    fade_end_bar,
    n_rows,
    n_time,
    first_chunk,
    n_chunks,
    C: tl.constexpr,
    D: tl.constexpr,
    M: tl.constexpr,
    BLOCK: tl.constexpr,
    MOMENTUM: tl.constexpr,
    PRODUCT: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Walk a stretch of chunks in reverse, all that a chunk needs made again from its start."""
    PARTS: tl.constexpr = 4 if MOMENTUM else 2
    row = tl.program_id(0).to(tl.int64)
    c, d, b = tl.arange(0, C), tl.arange(0, D), tl.arange(0, BLOCK)
    token = c[:, None] * D + d[None, :]
    pair = c[None, :] * C + c[:, None]
    wide = d[:, None] * M + b[None, :]
    narrow = b[:, None] * D + d[None, :] + D * M
    hidden = c[:, None] * M + b[None, :]
    kept = scratch + row * (C * M)
    p_at = pairs + row * (2 * C * C)
    plain = c[:, None] * C + c[None, :]
    bars = state_bar + row * (PARTS * D * M)
    for i in range(n_chunks):
        n = n_chunks - 1 - i
        at = (row * n_time + (first_chunk + n) * C) * D
        one = n * 2 * n_rows + row
        two = one + n_rows
        old = state + (row + n * n_rows) * (PARTS * D * M)
        q, k = tl.load(queries + at + token), tl.load(keys + at + token)
        e, y_bar = _written(errors + at + token, D), tl.load(reads_bar + at + token)
        p = _dot(q, tl.trans(k), PRODUCT, INTERPRETED) * tl.load(writes + one * (C * C) + pair)
        tl.store(p_at + plain, p)
        r_bar = -_dot(y_bar, tl.trans(e), PRODUCT, INTERPRETED)
        tl.store(p_at + C * C + plain, r_bar * tl.load(writes + two * (C * C) + pair))
        tl.debug_barrier()
        b1 = tl.load(start + one * C + c)[:, None]
        b2 = tl.load(start + two * C + c)[:, None]
        a1 = tl.load(weights + one * C + c)[:, None]
        a2 = tl.load(weights + two * C + c)[:, None]
        beta1, beta2 = tl.load(start_end + one), tl.load(start_end + two)
        b1_bar, b2_bar = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
        a1_bar, a2_bar = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
        beta1_bar, beta2_bar = 0.0, 0.0
        if MOMENTUM:
            d1 = tl.load(pushed + one * C + c)[:, None]
            d2 = tl.load(pushed + two * C + c)[:, None]
            r1 = tl.load(buffer + one * C + c)[:, None]
            r2 = tl.load(buffer + two * C + c)[:, None]
            gamma1, gamma2 = tl.load(pushed_end + one), tl.load(pushed_end + two)
            rho1, rho2 = tl.load(fade_end + one), tl.load(fade_end + two)
            d1_bar, d2_bar = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
            r1_bar, r2_bar = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
            gamma1_bar, gamma2_bar = 0.0, 0.0
            rho1_bar, rho2_bar = 0.0, 0.0
        scores = tl.zeros([C, C], tl.float32)
        p_bar = tl.zeros([C, C], tl.float32)
        q_bar = tl.zeros([C, D], tl.float32)
        k_bar = tl.zeros([C, D], tl.float32)
        e_bar = tl.zeros([C, D], tl.float32)
        # What the chunk knows of its tokens is loaded where it is used, and not held: registers
        # are what is short here.
        for j in range(0, M, BLOCK):
            w1 = tl.load(old + wide + j)
            w2 = tl.load(old + narrow + j * D)
            z = _dot(tl.load(keys + at + token), w1, PRODUCT, INTERPRETED)
            gate = tl.sigmoid(z)
            h = z * gate
            slope = _slope(z, gate)
            u = _dot(_written(errors + at + token, D), tl.trans(w2), PRODUCT, INTERPRETED)
            dl = u * slope
            q = tl.load(queries + at + token)
            zq = b1 * _dot(q, w1, PRODUCT, INTERPRETED)
            zq -= _dot(tl.load(p_at + plain), dl, PRODUCT, INTERPRETED)
            if MOMENTUM:
                s1 = tl.load(old + 2 * D * M + wide + j)
                s2 = tl.load(old + 2 * D * M + narrow + j * D)
                zq += d1 * _dot(q, s1, PRODUCT, INTERPRETED)
            gate_q = tl.sigmoid(zq)
            hq = zq * gate_q
            scores += _dot(hq, tl.trans(h), PRODUCT, INTERPRETED)

            # Reads, second layer: B2 (hq W2) + D2 (hq S2) - R e.
            y_bar = tl.load(reads_bar + at + token)
            r_bar = tl.load(p_at + C * C + plain)
            back = _dot(y_bar, tl.trans(w2), PRODUCT, INTERPRETED)
            b2_bar += tl.sum(hq * back, 1)
            zq_bar = b2 * back + _dot(r_bar, h, PRODUCT, INTERPRETED)
            if MOMENTUM:
                back = _dot(y_bar, tl.trans(s2), PRODUCT, INTERPRETED)
                d2_bar += tl.sum(hq * back, 1)
                zq_bar += d2 * back
            zq_bar *= _slope(zq, gate_q)
            h_bar = _dot(tl.trans(r_bar), hq, PRODUCT, INTERPRETED)

            # Reads, first layer: B1 (q W1) + D1 (q S1) - P dl.
            p_bar -= _dot(zq_bar, tl.trans(dl), PRODUCT, INTERPRETED)
            dl_bar = -_dot(tl.trans(tl.load(p_at + plain)), zq_bar, PRODUCT, INTERPRETED)
            q = tl.load(queries + at + token)
            back = _dot(zq_bar, tl.trans(w1), PRODUCT, INTERPRETED)
            b1_bar += tl.sum(q * back, 1)
            q_bar += b1 * back
            if MOMENTUM:
                back = _dot(zq_bar, tl.trans(s1), PRODUCT, INTERPRETED)
                d1_bar += tl.sum(q * back, 1)
                q_bar += d1 * back

            # Writes, second layer.
            e = _written(errors + at + token, D)
            w2_bar = tl.load(bars + narrow + j * D)
            back = _dot(e, tl.trans(w2_bar), PRODUCT, INTERPRETED)
            a2_bar -= tl.sum(h * back, 1)
            h_bar -= a2 * back
            e_bar -= a2 * _dot(h, w2_bar, PRODUCT, INTERPRETED)
            beta2_bar += tl.sum(w2_bar * w2)
            if MOMENTUM:
                s2_bar = tl.load(bars + 2 * D * M + narrow + j * D)
                back = _dot(e, tl.trans(s2_bar), PRODUCT, INTERPRETED)
                r2_bar -= tl.sum(h * back, 1)
                h_bar -= r2 * back
                e_bar -= r2 * _dot(h, s2_bar, PRODUCT, INTERPRETED)
                gamma2_bar += tl.sum(w2_bar * s2)
                rho2_bar += tl.sum(s2_bar * s2)
                s2_bar = gamma2 * w2_bar + rho2 * s2_bar
                y_bar = d2 * tl.load(reads_bar + at + token)
                s2_bar += _dot(tl.trans(hq), y_bar, PRODUCT, INTERPRETED)
                tl.store(bars + 2 * D * M + narrow + j * D, s2_bar)

            # Writes, first layer.
            k = tl.load(keys + at + token)
            w1_bar = tl.load(bars + wide + j)
            back = _dot(k, w1_bar, PRODUCT, INTERPRETED)
            a1_bar -= tl.sum(dl * back, 1)
            dl_bar -= a1 * back
            k_bar -= a1 * _dot(dl, tl.trans(w1_bar), PRODUCT, INTERPRETED)
            beta1_bar += tl.sum(w1_bar * w1)
            if MOMENTUM:
                s1_bar = tl.load(bars + 2 * D * M + wide + j)
                back = _dot(k, s1_bar, PRODUCT, INTERPRETED)
                r1_bar -= tl.sum(dl * back, 1)
                dl_bar -= r1 * back
                k_bar -= r1 * _dot(dl, tl.trans(s1_bar), PRODUCT, INTERPRETED)
                gamma1_bar += tl.sum(w1_bar * s1)
                rho1_bar += tl.sum(s1_bar * s1)
                s1_bar = gamma1 * w1_bar + rho1 * s1_bar
                q = tl.load(queries + at + token)
                s1_bar += _dot(tl.trans(q), d1 * zq_bar, PRODUCT, INTERPRETED)
                tl.store(bars + 2 * D * M + wide + j, s1_bar)
            q = tl.load(queries + at + token)
            w1_bar = beta1 * w1_bar + _dot(tl.trans(q), b1 * zq_bar, PRODUCT, INTERPRETED)
            tl.store(bars + wide + j, w1_bar)

            # Errors: u = e W2^T, dl = u silu'(z).
            u_bar = dl_bar * slope
            e_bar += _dot(u_bar, w2, PRODUCT, INTERPRETED)
            y_bar = b2 * tl.load(reads_bar + at + token)
            w2_bar = beta2 * w2_bar + _dot(tl.trans(hq), y_bar, PRODUCT, INTERPRETED)
            e = _written(errors + at + token, D)
            w2_bar += _dot(tl.trans(u_bar), e, PRODUCT, INTERPRETED)
            tl.store(bars + narrow + j * D, w2_bar)
            # Second derivative of SiLU: g (1 - g) (2 + z (1 - 2 g)).
            bend = gate * (1.0 - gate) * (2.0 + z * (1.0 - 2.0 * gate))
            tl.store(kept + hidden + j, dl_bar * u * bend + h_bar * slope)
        # Stored by one thread, loaded by another.
        tl.debug_barrier()

        y_bar, e = tl.load(reads_bar + at + token), _written(errors + at + token, D)
        a_table = tl.load(writes + two * (C * C) + pair)
        e_bar -= _dot(tl.trans(scores * a_table), y_bar, PRODUCT, INTERPRETED)
        made = -_dot(y_bar, tl.trans(e), PRODUCT, INTERPRETED)
        tl.store(writes_bar + two * (C * C) + pair, made * scores)
        q, k = tl.load(queries + at + token), tl.load(keys + at + token)
        made = _dot(q, tl.trans(k), PRODUCT, INTERPRETED)
        tl.store(writes_bar + one * (C * C) + pair, p_bar * made)
        p_bar *= tl.load(writes + one * (C * C) + pair)
        tl.store(queries_bar + at + token, q_bar + _dot(p_bar, k, PRODUCT, INTERPRETED))
        k_bar += _dot(tl.trans(p_bar), q, PRODUCT, INTERPRETED)
        e = tl.load(errors + at + token)
        square = tl.sum(e * e, 1)[:, None] / D
        along = tl.sum(e * e_bar, 1)[:, None] / D
        bent = e_bar - 2.0 * e * along / tl.where(square > MOST_SQUARE, square, 1.0)
        o_bar = 2.0 * tl.where(square > MOST_SQUARE, _share(e, D) * bent, e_bar)
        tl.store(values_bar + at + token, -o_bar)
        tl.store(start_bar + one * C + c, b1_bar)
        tl.store(start_bar + two * C + c, b2_bar)
        tl.store(weights_bar + one * C + c, a1_bar)
        tl.store(weights_bar + two * C + c, a2_bar)
        tl.store(start_end_bar + one, beta1_bar)
        tl.store(start_end_bar + two, beta2_bar)
        if MOMENTUM:
            tl.store(pushed_bar + one * C + c, d1_bar)
            tl.store(pushed_bar + two * C + c, d2_bar)
            tl.store(buffer_bar + one * C + c, r1_bar)
            tl.store(buffer_bar + two * C + c, r2_bar)
            tl.store(pushed_end_bar + one, gamma1_bar)
            tl.store(pushed_end_bar + two, gamma2_bar)
            tl.store(fade_end_bar + one, rho1_bar)
            tl.store(fade_end_bar + two, rho2_bar)

        # The errors' own way back to the state needs all of their cotangent.
        for j in range(0, M, BLOCK):
            w1 = tl.load(old + wide + j)
            w2 = tl.load(old + narrow + j * D)
            z = _dot(k, w1, PRODUCT, INTERPRETED)
            gate = tl.sigmoid(z)
            z_bar = _dot(o_bar, tl.trans(w2), PRODUCT, INTERPRETED) * _slope(z, gate)
            z_bar += tl.load(kept + hidden + j)
            k_bar += _dot(z_bar, tl.trans(w1), PRODUCT, INTERPRETED)
            w1_bar = tl.load(bars + wide + j)
            w1_bar += _dot(tl.trans(k), z_bar, PRODUCT, INTERPRETED)
            tl.store(bars + wide + j, w1_bar)
            w2_bar = tl.load(bars + narrow + j * D)
            w2_bar += _dot(tl.trans(z * gate), o_bar, PRODUCT, INTERPRETED)
            tl.store(bars + narrow + j * D, w2_bar)
        tl.store(keys_bar + at + token, k_bar)
        tl.debug_barrier()
