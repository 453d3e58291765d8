"""An export's UNet in other runtimes: calibrated, timed and measured as labels are.

It imports `bench`, `sampling` and what is below. Start at `measuring`.
"""

from sdsearch_eval.runtimes.calibration import Questions, pose_questions
from sdsearch_eval.runtimes.measuring import measure_runtimes
from sdsearch_eval.runtimes.nets import OnnxUNet

__all__ = ["OnnxUNet", "Questions", "measure_runtimes", "pose_questions"]
