"""The tasks of this folder, for evaluation/tasks.py."""

from ebm_tf.evaluation.detection.ood import check_energies, check_ood, energies_inputs, energies_task, ood_task
from ebm_tf.evaluation.detection.ood_curve import check_ood_curve, ood_curve_task
from ebm_tf.evaluation.task import STORED, Task

__all__ = ["TASKS"]

_SETTINGS = ("num_samples", "ood_data")
TASKS = {
    "energies": Task(energies_task, _SETTINGS, STORED, inputs=energies_inputs, check=check_energies, takes_bare=True),
    "ood": Task(ood_task, ("seed", *_SETTINGS), STORED, check=check_ood, unprinted=("detector",), takes_bare=True),
    "ood_curve": Task(ood_curve_task, _SETTINGS, "images", check=check_ood_curve, has_arrays=False),
}
