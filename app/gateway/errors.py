"""What can go wrong with a request, each with its status and its public message: the only texts a caller sees."""

import enum
from http import HTTPStatus


class Problem(enum.Enum):
    """One kind of failure; the name in lower case is its code in answers and in the metrics."""

    INVALID_JSON = (HTTPStatus.BAD_REQUEST, "The body is not valid JSON of the documented form.")
    NO_IMAGE = (
        HTTPStatus.BAD_REQUEST,
        "The request holds no image: send a JSON body with a url, or an image.",
    )
    INVALID_FORM = (HTTPStatus.BAD_REQUEST, "The multipart form is damaged.")
    UNSUPPORTED_BODY = (
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body must be application/json, an image, or multipart/form-data.",
    )
    INVALID_URL = (HTTPStatus.BAD_REQUEST, "The URL is not a valid http or https URL.")
    HOST_NOT_ALLOWED = (HTTPStatus.FORBIDDEN, "Images may not be fetched from that host.")
    ADDRESS_NOT_ALLOWED = (HTTPStatus.FORBIDDEN, "That host's address is not one images may be fetched from.")
    TOO_MANY_REDIRECTS = (HTTPStatus.BAD_GATEWAY, "The image's host redirects too often.")
    IMAGE_NOT_FETCHED = (HTTPStatus.BAD_GATEWAY, "The image's host did not answer with an image.")
    IMAGE_TIMEOUT = (HTTPStatus.GATEWAY_TIMEOUT, "The image's host took too long.")
    IMAGE_TOO_LARGE = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The image has too many bytes.")
    TOO_MANY_PIXELS = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The image has too many pixels.")
    INVALID_IMAGE = (HTTPStatus.UNPROCESSABLE_ENTITY, "The image is damaged.")
    UNSUPPORTED_IMAGE = (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The image is not a JPEG, PNG or WebP.")
    BODY_TOO_LARGE = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
    BODY_TIMEOUT = (HTTPStatus.REQUEST_TIMEOUT, "The body took too long to arrive.")
    BATCH_TOO_LARGE = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request holds too many images.")
    UNKNOWN_MODEL = (HTTPStatus.NOT_FOUND, "There is no model of that name.")
    NOT_FOUND = (HTTPStatus.NOT_FOUND, "There is nothing at this path.")
    METHOD_NOT_ALLOWED = (HTTPStatus.METHOD_NOT_ALLOWED, "That method is not allowed at this path.")
    OVERLOADED = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "More requests are under way than can be served; try again.",
    )
    REQUEST_TIMEOUT = (HTTPStatus.GATEWAY_TIMEOUT, "The request took longer than it may.")
    MODEL_UNAVAILABLE = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The model's server cannot be reached, or has not loaded the model.",
    )
    MODEL_TIMEOUT = (HTTPStatus.GATEWAY_TIMEOUT, "The model took too long.")
    MODEL_FAILED = (HTTPStatus.BAD_GATEWAY, "The model's server did not give a usable answer.")
    INTERNAL = (HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here.")

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        self.message = message

    @property
    def code(self) -> str:
        """The stable identifier of this kind of failure."""
        return self.name.lower()


class GatewayError(Exception):
    """A request that cannot be answered: the problem for the caller, the detail for the log alone."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        super().__init__(f"{problem.code}: {detail}" if detail else problem.code)
        self.problem = problem
        self.detail = detail
