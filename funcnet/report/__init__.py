"""Reports: figures and tables of results. They only read results and train nothing.

Every function draws into the given matplotlib `axes`, or into a new pyplot figure if they are None, and
returns the axes:

| figure | call |
|---|---|
| data of a regression | `scatter((x, y))` with one feature |
| data and the fitted line | `regression_line(model, data)` |
| data of two features by class | `scatter(data, title="training data")` |
| two classes and the line of probability one half | `separating_line(model, data, scaler=scaler)` |
| predicted and true classes side by side | `predictions(model, data)` |
| loss and metrics by epoch, training and validation | `history(run)` |
| the same for many runs, median and band | `history(runs)` of a vmapped run |
| a diagnosis: smoothed curves, best epoch, onset of overfitting | `diagnosis(run)` |
| regression losses by residual | `loss_curves({...})` |
| classification losses by probability | `loss_curves({...}, over="probability")` |
| the same for both true classes | `loss_curves({...}, over="probability", targets=(1, 0))` |
| decision surface of any classifier | `decision_surface(model, data)` |
| an animation of metric and decision surface | `training_frame(model, history, data, axes)` each epoch |
| all pairs of features | `pair_plot(data)` |
| one curve for each setting, layer or model | `curves({...})` |
| several fitted functions side by side | `fitted_curves({...}, data)` |
| scores of all trials of a sweep over one or two settings | `sweep(result)` |
| scores of the trials of a halving, rung by rung | `halving(result)` |
| confusion matrix | `confusion_matrix(logits, targets)` |
| reliability diagram | `calibration(logits, targets)` |
| bias, variance and noise by epoch | `bias_variance(result)` |
| the same by capacity | `bias_variance({degree: result})` |
| training and validation scores by number of rows or by capacity | `learning_curve(curve)` |

Classes and curves differ in marker or line style as well as in colour, and labels are legible in a panel
printed 8 cm wide.
"""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
