"""Add a direction and a method of unlearning from outside the package, and run both.

Few drawings and one layer keep this short; with your own model and pictures, pass them to
`slsgu.load` and `slsgu.make_task`. To add them to slsgu itself, see docs/contributing.md.
"""

import torch

import slsgu
from slsgu.audit.run import run_audit
from slsgu.direction.direction import DIRECTIONS, Direction
from slsgu.search.method import Edit

# -- a direction: the forget gradient without its part along the gradient of what is kept ---------


def orthogonal(context):
    """From what is known of a layer to a tensor of its shape; a step along it forgets."""
    retain = context.retain / context.retain.norm()
    return context.forget - (context.forget * retain).sum() * retain


# -- a method: take the concept's name out of the last projection of texts ------------------------


def project_out(task, ledger, progress):
    """From a task to an edit. It needs no picture, so the ledger, which keeps the pictures that a
    method learns from out of the test, has nothing to note."""
    layer = "text_projection"
    weight = task.clip.model.get_parameter(layer).detach().clone()  # [width, d]
    names = [leaf.name for leaf in task.request.forget_leaves]
    texts = task.clip.encode_text([t.replace("{}", n) for t in task.templates for n in names])
    axis = torch.nn.functional.normalize(texts.detach().mean(dim=0), dim=0)
    delta = -(weight @ axis)[:, None] * axis[None, :]
    stored = weight.to(task.clip.stored_dtypes[layer])  # what a patch keeps to be reverted exactly
    return Edit(slsgu.Patch({layer: delta}, {layer: stored}, {"method": "project-out"}))


def show(title, outcome):
    """What happened on pictures that neither the direction nor the method has seen."""
    measures = outcome.proof.measures
    readings = run_audit(outcome.task, outcome.edit.patch, probes=["prototypes"])
    five = next(reading for reading in readings if reading.setting.startswith("5 "))
    print(
        f"{title:<24} {outcome.edit.patch.layers[0]:<16} quality {measures.quality:6.1%}  "
        f"utility {measures.utility:6.1%}  Q-U {measures.q_u:6.1%}  "
        f"found from 5 pictures {five.before:.0%} -> {five.after:.0%}"
    )


clip = slsgu.load()  # the embedded model of drawings
pets = slsgu.Taxonomy.parse(
    {
        "$templates": ["a drawing of a {}", "a picture of a {}"],
        "dog": ["golden retriever", "labrador retriever", "beagle", "poodle"],
        "cat": ["tabby cat", "persian cat"],
    }
)
few = slsgu.Limits(gradient=10, search=10, test=20)

DIRECTIONS["orthogonal"] = Direction(orthogonal)  # from here on it has a name, as any other
try:
    settings = slsgu.Settings(direction="orthogonal", layer="visual.proj", limits=few, force=True)
    plan = slsgu.make_plan(clip, ["golden retriever"], taxonomy=pets, settings=settings)
    show("orthogonal direction", slsgu.run_plan(plan))
finally:
    del DIRECTIONS["orthogonal"]

# A method needs no entry in a table: pass the function. Its edit must meet the same goal, and is
# measured on the same images.
show("project-out method", slsgu.run_method(plan.task, project_out, force=True))
