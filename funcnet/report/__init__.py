"""Reports: results as figures and tables. They read results and compute nothing new.

Every function draws into matplotlib `axes` where they are given, and otherwise into a new figure that
a notebook shows; it returns the axes. The pictures of a first lesson on training, and what draws them:

| picture | call |
|---|---|
| points of a regression | `scatter((x, y))` with one feature |
| points and the fitted line | `regression_line(model, data)` |
| classes of two features | `scatter(data, title="training data")` |
| classes and the line of probability one half | `separating_line(model, data, scaler=scaler)` |
| predicted beside true classes | `predictions(model, data)` |
| loss and accuracy by epoch, training and validation; validation turning up | `history(run)` |
| the same for many trainings at once | `history(runs)` of a run made by vmap |
| what a diagnosis saw: smoothed curves, best epoch, turn | `diagnosis(run)` |
| absolute and squared loss by residual | `loss_curves({...})` |
| 0-1 and logistic loss by probability | `loss_curves({...}, over="probability")` |
| cross-entropy for both true classes | `loss_curves({...}, over="probability", targets=(1, 0))` |
| decision surface, any number of classes and features | `decision_surface(model, data)` |
| a live figure of accuracy and surface | `training_frame(model, measured, data, axes)` each epoch |
| all pairs of features | `pair_plot(data)` |
| largest weight of each layer by epoch; one curve for each dropout rate | `curves({...})` |
| a straight line beside a curve through all points | `fits({...}, data)` |
| which classes are mistaken for which | `confusion_matrix(logits, targets)` |
| whether probabilities can be believed | `calibration(logits, targets)` |
| bias, variance and noise by epochs, or by capacity | `bias_variance(found)`, or of `{degree: found}` |
| training and validation error by rows or by capacity | `learning_curve(curve)` |

Classes and curves differ in marker or line style as well as in colour, and letters can be read in a
panel printed 8 cm wide.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
