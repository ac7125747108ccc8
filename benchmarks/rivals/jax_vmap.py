"""The same members in JAX: vmap over strengths, scan over an epoch's steps, jit, donated buffers.

The best of the layouts tried (see benchmarks/README.md): four host devices through ``shard_map``,
each with its share of the strengths; inside a device the folds come one after another
(``lax.map``), so that the weights and moments of a few members stay in the cache for a whole
epoch; weights are stored (units, inputs), so that the first layer of all strengths of a group is
one large matrix product with their shared minibatch.
"""

from __future__ import annotations

import math
import os
import time

from benchmarks import rivals

DEVICES = max(d for d in (1, 2, 4, 8, 16, 32) if d <= len(os.sched_getaffinity(0)))
FLAGS = f"--xla_force_host_platform_device_count={DEVICES}"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

IMPORTED = time.perf_counter()

Weights = tuple[jax.Array, ...]
State = tuple[Weights, Weights, Weights]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def outputs(weights: Weights, X: jax.Array) -> jax.Array:
    """Logits of one member, classes first."""
    first, first_bias, second, second_bias = weights
    hidden = jax.nn.relu(first @ X.T + first_bias[:, None])
    return second @ hidden + second_bias[:, None]


def data_loss(weights: Weights, X: jax.Array, y: jax.Array, row_weights: jax.Array) -> jax.Array:
    """Cross-entropy; the weights of the rows sum to one, padding weighs zero."""
    log_probabilities = jax.nn.log_softmax(outputs(weights, X), axis=0)
    one_hot = y == jnp.arange(rivals.CLASSES)[:, None]
    return -((log_probabilities * one_hot).sum(axis=0) * row_weights).sum()


def objective(weights: Weights, strength: jax.Array, *batch: jax.Array) -> jax.Array:
    penalty = (weights[0] ** 2).sum() + (weights[2] ** 2).sum()
    return data_loss(weights, *batch) + strength * penalty


def member_step(
    state: State, strength: jax.Array, corrections: tuple[jax.Array, jax.Array], *batch: jax.Array
) -> State:
    """One step of Adam for one member."""
    weights, means, squares = state
    gradient = jax.grad(objective)(weights, strength, *batch)
    means = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, means, gradient)
    squares = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, squares, gradient)
    weights = jax.tree.map(
        lambda w, m, v: (
            w - rivals.LEARNING_RATE * corrections[0] * m / (jnp.sqrt(v * corrections[1]) + EPSILON)
        ),
        weights,
        means,
        squares,
    )
    return weights, means, squares


def group_epoch(
    state: State,
    strengths: jax.Array,
    order: jax.Array,
    row_weights: jax.Array,
    steps_before: jax.Array,
    X: jax.Array,
    y: jax.Array,
) -> State:
    """One epoch of the members of one fold that share their minibatches."""
    every_strength = jax.vmap(member_step, in_axes=(0, 0, None, None, None, None))

    def step(
        carry: tuple[State, jax.Array], batch: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[State, jax.Array], None]:
        state, steps = carry
        rows, weights = batch
        steps = steps + 1.0
        corrections = (1 / (1 - BETA1**steps), 1 / (1 - BETA2**steps))
        state = every_strength(state, strengths, corrections, X[rows], y[rows], weights)
        return (state, steps), None

    (state, _), _ = lax.scan(step, (state, steps_before), (order, row_weights))
    return state


def device_epoch(
    state: State,
    strengths: jax.Array,
    order: jax.Array,
    row_weights: jax.Array,
    steps_before: jax.Array,
    X: jax.Array,
    y: jax.Array,
) -> State:
    """One epoch of a device's share: folds, and groups of strengths in them, one by one."""

    def group(work: tuple[State, jax.Array, jax.Array]) -> State:
        state, strengths, fold = work
        return group_epoch(state, strengths, order[fold], row_weights[fold], steps_before, X, y)

    count = strengths.shape[0]
    size = math.gcd(count, group_size(X.shape[1]))
    groups = count // size
    grouped = jax.tree.map(lambda a: a.reshape(rivals.FOLDS * groups, size, *a.shape[2:]), state)
    folds = jnp.repeat(jnp.arange(rivals.FOLDS), groups)
    group_strengths = jnp.tile(strengths.reshape(groups, size), (rivals.FOLDS, 1))
    trained = lax.map(group, (grouped, group_strengths, folds))
    return jax.tree.map(lambda a, like: a.reshape(like.shape), trained, state)


def device_losses(
    weights: Weights, rows: jax.Array, row_weights: jax.Array, X: jax.Array, y: jax.Array
) -> jax.Array:
    """The validation losses of a device's share, (folds, strengths): folds one by one."""
    every_strength = jax.vmap(data_loss, in_axes=(0, None, None, None))

    def fold(work: tuple[Weights, jax.Array, jax.Array]) -> jax.Array:
        weights, rows, row_weights = work
        return every_strength(weights, X[rows], y[rows], row_weights)

    return lax.map(fold, (weights, rows, row_weights))


def group_size(features: int) -> int:
    """How many strengths a group trains together (measured; see benchmarks/README.md)."""
    return 2 if features > 256 else 8


def initial(problem: rivals.Problem, split: NamedSharding) -> State:
    """torch's initialization of a Linear layer, one draw for all members; zero moments."""
    generator = np.random.default_rng(rivals.SEED)

    def draw(*shape: int, inputs: int) -> np.ndarray:
        bound = 1 / math.sqrt(inputs)
        return generator.uniform(-bound, bound, shape).astype(np.float32)

    weights = (
        draw(rivals.HIDDEN, problem.features, inputs=problem.features),
        draw(rivals.HIDDEN, inputs=problem.features),
        draw(rivals.CLASSES, rivals.HIDDEN, inputs=rivals.HIDDEN),
        draw(rivals.CLASSES, inputs=rivals.HIDDEN),
    )
    members = (rivals.FOLDS, len(rivals.STRENGTHS))
    spread = tuple(jax.device_put(np.broadcast_to(a, (*members, *a.shape)), split) for a in weights)
    means, squares = (
        tuple(jnp.zeros((*members, *a.shape), a.dtype, device=split) for a in weights)
        for _ in range(2)
    )
    return spread, means, squares


def batches(
    problem: rivals.Problem, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled rows and their weights, (folds, steps, batch); the last batch is padded."""
    shape = (rivals.FOLDS, problem.steps_per_epoch, rivals.BATCH)
    rows = np.zeros((rivals.FOLDS, problem.steps_per_epoch * rivals.BATCH), np.int32)
    real = np.zeros(rows.shape, np.float32)
    for fold in range(rivals.FOLDS):
        order = generator.permutation(problem.split(fold)[0])
        rows[fold, : len(order)] = order
        real[fold, : len(order)] = 1.0
    real = real.reshape(shape)
    return rows.reshape(shape), real / real.sum(axis=2, keepdims=True)


def held_out(problem: rivals.Problem) -> tuple[np.ndarray, np.ndarray]:
    """Validation rows and their weights, (folds, rows); the shorter folds are padded."""
    folds = [problem.split(fold)[1] for fold in range(rivals.FOLDS)]
    rows = np.zeros((rivals.FOLDS, max(map(len, folds))), np.int32)
    weights = np.zeros(rows.shape, np.float32)
    for fold, own in enumerate(folds):
        rows[fold, : len(own)], weights[fold, : len(own)] = own, 1 / len(own)
    return rows, weights


def validation_loss(problem: rivals.Problem, weights: Weights) -> np.ndarray:
    """Mean over folds, per strength."""
    first, first_bias, second, second_bias = (np.asarray(a) for a in weights)
    losses = np.empty((rivals.FOLDS, len(rivals.STRENGTHS)))
    for fold in range(rivals.FOLDS):
        rows = problem.split(fold)[1]
        X, y = problem.X[rows], problem.y[rows]
        for k in range(len(rivals.STRENGTHS)):
            hidden = np.maximum(X @ first[fold, k].T + first_bias[fold, k], 0.0)
            logits = hidden @ second[fold, k].T + second_bias[fold, k]
            logits -= logits.max(axis=1, keepdims=True)
            chosen = logits[np.arange(len(y)), y]
            losses[fold, k] = (np.log(np.exp(logits).sum(axis=1)) - chosen).mean()
    return losses.mean(axis=0)


def main(name: str = "jax_vmap", *, curves: bool = False) -> None:
    """Train; validate at the end, or with ``curves`` after every epoch, as we do."""
    options = rivals.arguments(name)
    problem = rivals.load(options.problem, options.epochs)
    generator = np.random.default_rng(rivals.SEED)
    start = time.perf_counter()
    mesh = jax.make_mesh((DEVICES,), ("strength",))
    everywhere = PartitionSpec()
    by_strength, by_member = PartitionSpec("strength"), PartitionSpec(None, "strength")
    shared = NamedSharding(mesh, everywhere)
    state = initial(problem, NamedSharding(mesh, by_member))
    strengths = jax.device_put(
        rivals.STRENGTHS.astype(np.float32), NamedSharding(mesh, by_strength)
    )
    X, y = jax.device_put((problem.X, problem.y.astype(np.int32)), shared)

    def inputs(epoch: int) -> tuple[jax.Array, ...]:
        steps_before = np.float32(epoch * problem.steps_per_epoch)
        return jax.device_put((*batches(problem, generator), steps_before), shared)

    compile_start = time.perf_counter()
    mapped = jax.shard_map(
        device_epoch,
        mesh=mesh,
        in_specs=(by_member, by_strength, *[everywhere] * 5),
        out_specs=by_member,
        check_vma=False,
    )
    first_inputs = inputs(0)
    epoch_step = (
        jax.jit(mapped, donate_argnums=0).lower(state, strengths, *first_inputs, X, y).compile()
    )
    if curves:
        held = jax.device_put(held_out(problem), shared)
        specs = {"in_specs": (by_member, *[everywhere] * 4), "out_specs": by_member}
        losses = jax.shard_map(device_losses, mesh=mesh, check_vma=False, **specs)
        validate = jax.jit(losses).lower(state[0], *held, X, y).compile()
    compiled = time.perf_counter()
    seen = []
    for epoch in range(problem.epochs):
        epoch_inputs = inputs(epoch) if epoch else first_inputs
        state = epoch_step(state, strengths, *epoch_inputs, X, y)
        if curves:
            seen.append(validate(state[0], *held, X, y))
    if curves:
        valid_loss = np.stack([np.asarray(losses) for losses in seen])[-1].mean(axis=0)
    else:
        valid_loss = validation_loss(problem, state[0])
    finished = time.perf_counter()
    compile_s = compiled - compile_start
    rivals.report(
        options,
        problem,
        valid_loss,
        import_s=IMPORTED - rivals.STARTED,
        compile_s=compile_s,
        run_s=finished - start - compile_s,
        note=f"{DEVICES} host devices",
    )


if __name__ == "__main__":
    main()
