"""Forget "golden retriever" on the embedded drawings. Needs no network and no data.

The model is small and knows drawings only: this shows how the tool works, not how a model
behaves on photographs.
"""

import slsgu

clip = (
    slsgu.load()
)  # the embedded model; slsgu.load("ViT-B-32", "laion2b_s34b_b79k") for a real one
few = slsgu.Limits(gradient=20, search=20, test=20, retain_gradient=400, retain_search=400)
settings = slsgu.Settings(limits=few)  # fewer drawings than by default, to be quick
result = slsgu.unlearn(clip, "golden retriever", settings=settings)

trace = result.trace  # how the single-gradient method came to its choice
assert trace is not None
share = trace.chosen.relative_step
print(f"Changed: {trace.chosen.layer} ({trace.tower} tower), by {share:.1%} of its norm.")

# One row for each level of the taxonomy, for the requested images and for all others. These are
# test images: neither the gradient nor the choice of layer and step has seen them.
print(f"\n{'images':<18} {'level':>5} {'wanted':>7} {'before':>7} {'after':>7}")
for row in result.proof.measures.levels:
    images = "golden retrievers" if row.images == "forget" else "everything else"
    wanted = "forget" if row.forgotten else "keep"
    print(f"{images:<18} {row.level:>5} {wanted:>7} {row.before:>7.1%} {row.after:>7.1%}")

measures = result.proof.measures
print(f"\nquality {measures.quality:.1%}, utility {measures.utility:.1%}, Q-U {measures.q_u:.1%}")

assert result.patch is not None  # unlearn raises NotReachedError where the goal is not met
result.patch.save("golden-retriever.safetensors")
print("Saved golden-retriever.safetensors: see it with `slsgu patch show`.")
