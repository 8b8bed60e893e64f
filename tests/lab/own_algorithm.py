"""A search algorithm of a user's own, as a container for Katib: the Suggestion API on port 6789.

It raises `lr` by a tenth with every trial, and does what its setting `behaviour` says besides. From a volume it
reads how often it was started.
"""

import os
import pathlib
import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from kubeflow.katib import katib_api_pb2 as api
from kubeflow.katib import katib_api_pb2_grpc as services

KEPT = pathlib.Path("/opt/katib/data/starts")


def settings_of(experiment):
    return {setting.name: setting.value for setting in experiment.spec.algorithm.algorithm_settings}


class Climber(services.SuggestionServicer):
    def __init__(self, starts):
        self.starts = starts

    def ValidateAlgorithmSettings(self, request, context):
        settings = settings_of(request.experiment)
        if settings.get("behaviour") == "refuse":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "behaviour should not be refuse")
        return api.ValidateAlgorithmSettingsReply()

    def GetSuggestions(self, request, context):
        settings = settings_of(request.experiment)
        behaviour = settings.get("behaviour")
        print(f"{request.current_request_number} of {request.total_request_number} for {request.experiment.name}, "
              f"{len(request.trials)} trials so far", flush=True)
        if behaviour == "crash":
            os._exit(3)
        if behaviour == "raise":
            raise ValueError("no idea")
        given = int(settings.get("given", "0"))
        count = request.current_request_number - (behaviour == "short")
        assignments = []
        for number in range(given, given + count):
            lr = "7" if behaviour == "outside" else f"{0.1 + 0.1 * number:.1f}"
            assignments.append(api.GetSuggestionsReply.ParameterAssignments(
                assignments=[api.ParameterAssignment(name="lr", value=lr),
                             api.ParameterAssignment(name="optimizer", value="sgd")],
                labels={"climber/number": str(number)}))
        ended = [trial for trial in request.trials if trial.status.condition == api.TrialStatus.SUCCEEDED]
        values = [float(metric.value) for trial in ended for metric in trial.status.observation.metrics]
        returned = {"given": given + count, "best": max(values, default="none"), "starts": self.starts}
        return api.GetSuggestionsReply(
            parameter_assignments=assignments,
            algorithm=api.AlgorithmSpec(algorithm_settings=[
                api.AlgorithmSetting(name=name, value=str(value)) for name, value in returned.items()]))


def main():
    starts = 1
    if KEPT.parent.is_dir():
        starts = int(KEPT.read_text() if KEPT.exists() else 0) + 1
        KEPT.write_text(str(starts))
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    services.add_SuggestionServicer_to_server(Climber(starts), server)
    if "--no-health" not in sys.argv:
        state = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        state.set("manager.v1beta1.Suggestion", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port("0.0.0.0:6789")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
