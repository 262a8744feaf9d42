package bus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Codes that the client has no names for.
const (
	codeTemporarilyUnavailable = 10008
	codeDuplicateInProcess     = 10158
	codeMessageTooLarge        = 10054 // than the stream takes
	codeReplicasNotSupported   = 10074 // by a server in no cluster
)

// apiError is the error part of a JetStream API answer.
type apiError struct {
	Code        jetstream.ErrorCode `json:"err_code"`
	Description string              `json:"description"`
}

// notFound reports whether an answer holds no message: with nil if there is
// none, with an error if the server says something else.
func (e *apiError) notFound() (bool, error) {
	switch {
	case e == nil:
		return false, nil
	case e.Code == jetstream.JSErrCodeMessageNotFound:
		return true, nil
	}
	return true, fmt.Errorf("server says %d: %s", e.Code, e.Description)
}

// apiCode returns the JetStream error code in err's chain, or 0.
func apiCode(err error) jetstream.ErrorCode {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode
	}
	if e, ok := errors.AsType[jetstream.JetStreamError](err); ok && e.APIError() != nil {
		return e.APIError().ErrorCode
	}
	return 0
}
