"""The numbers of the paper (arXiv 2509.22739) that a study is compared with.

They are quoted in docs/method.md, "The authors' numbers". The paper's models, data versions and
protocol differ from a study's, so the numbers are context and not a target.
"""

from typing import NamedTuple

MODELS = ("Nous", "DeepSeek", "Llama")
METHODS = ("pasf", "ipasa", "ipaswo")  # the paper has no CAA
METHOD_NAMES = {"pasf": "PASf", "ipasa": "iPASa", "ipaswo": "iPASwo", "caa": "CAA"}


class PaperTask(NamedTuple):
    """A task of the paper.

    Attributes:
        name: As docs/method.md abbreviates it.
        baselines: Unsteered test accuracy of each of `MODELS`.
        gains: Mean gain of each of `METHODS` over the models; None where none is quoted.
    """

    name: str
    baselines: tuple[float, float, float]
    gains: tuple[float, float, float] | None = None


# Mean gain over the paper's three models, in the order of METHODS.
CATEGORY_GAINS = {
    "bias": (0.037, 0.082, 0.101),
    "morality": (0.028, 0.052, 0.050),
    "alignment": (0.348, 0.272, 0.256),
}
# What steering adds to a treatment.
TREATMENTS = {
    "icl": "on top of ICL: bias +0.03, morality +0.03 to +0.04, alignment +0.16 to +0.18",
    "sft": "TruthfulQA: fine-tuning alone +0.091; PAS on it +0.272 / +0.144 / +0.151 "
    "(PASf / iPASa / iPASwo)",
}
INTELLIGENCE = "about 0, except DeepSeek +0.03 to +0.07"

# By the names of `pas.datasets`. The paper counts the sycophantic answer as correct, so the
# counterpart of its Sycophancy is `sycophancy_agree`; `sycophancy` has none.
TASKS = {
    "bbq_disability_status": PaperTask("Disability", (0.65, 0.52, 0.63)),
    "bbq_gender_identity": PaperTask("Gender", (0.70, 0.52, 0.73)),
    "bbq_nationality": PaperTask("Nationality", (0.72, 0.57, 0.73)),
    "bbq_physical_appearance": PaperTask("Physical", (0.71, 0.50, 0.62)),
    "bbq_race_ethnicity": PaperTask("Race", (0.70, 0.56, 0.75)),
    "bbq_race_x_gender": PaperTask("Race×Gender", (0.68, 0.58, 0.72), (0.072, 0.135, 0.173)),
    "bbq_race_x_ses": PaperTask("Race×SES", (0.78, 0.61, 0.78)),
    "bbq_religion": PaperTask("Religion", (0.69, 0.54, 0.72), (0.014, 0.043, 0.061)),
    "bbq_ses": PaperTask("SES", (0.73, 0.59, 0.72)),
    "bbq_sexual_orientation": PaperTask("Sexual", (0.76, 0.48, 0.75)),
    "ethics_commonsense": PaperTask("Commonsense", (0.70, 0.56, 0.71)),
    "ethics_deontology": PaperTask("Deontology", (0.56, 0.56, 0.64)),
    "ethics_justice": PaperTask("Justice", (0.67, 0.54, 0.66)),
    "sycophancy_agree": PaperTask("Sycophancy", (0.54, 0.70, 0.63), (0.425, 0.424, 0.322)),
    "truthfulqa": PaperTask("TruthfulQA", (0.53, 0.34, 0.52), (0.272, 0.120, 0.189)),
    "openbookqa": PaperTask("OpenBookQA", (0.78, 0.63, 0.86)),
    "arc_challenge": PaperTask("ARC", (0.77, 0.62, 0.82)),
    "lsat": PaperTask("LSAT", (0.51, 0.32, 0.46)),
}
