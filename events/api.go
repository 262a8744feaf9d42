package events

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"
)

// APIService is the name of the micro service that answers requests; NATS tools
// find it by it.
const APIService = "memberwatch"

// Names of the service's endpoints, for [Subjects.API].
const (
	APIRefresh  = "refresh"   // takes a RefreshRequest, answers with a RefreshResponse when the refresh is done
	APIGet      = "get"       // takes a GetRequest, answers with a GetResponse
	APIOAuthURI = "oauth_uri" // takes an OAuthURIRequest, answers with an OAuthURIResponse
)

// Endpoint is a row of the catalog of requests.
type Endpoint struct {
	Name  string    // for [Subjects.API]
	What  string    // one sentence: what a request does
	Codes []APICode // what it may be refused with
}

// Endpoints returns every endpoint of the service.
func Endpoints() []Endpoint {
	return []Endpoint{
		{
			APIRefresh, "Reads a member from MX, publishes what changed, and answers when that is done; when its time is up first, the refresh goes on.",
			[]APICode{APIInvalid, APINotFound, APIFailed, APIUnavailable, APIDeadline},
		},
		{
			APIGet, "Tells a member's last known state without asking MX; a partner's own ids are known once the member was refreshed by them.",
			[]APICode{APIInvalid, APINotFound, APIFailed, APIUnavailable, APIDeadline},
		},
		{
			APIOAuthURI, "Has MX generate a fresh URI to send the member's user to, for the caller alone: neither stored nor logged.",
			[]APICode{APIInvalid, APIForbidden, APINotFound, APIConflict, APIUnavailable, APIDeadline},
		},
	}
}

// How long an endpoint may take to answer, as timeout_ms of a request.
const (
	DefaultAPITimeout = 10 * time.Second // of a request that does not say
	MaxAPITimeout     = time.Minute      // nobody holds a request that long for an answer of MX
)

// Headers of an answer that is an error; one without them is the endpoint's
// response. They are those of the NATS micro protocol.
const (
	APIErrorCodeHeader = "Nats-Service-Error-Code" // an APICode
	APIErrorHeader     = "Nats-Service-Error"      // the same in words
)

// APICode says why a request was not served. It is the value of the header
// [APIErrorCodeHeader]. A later version may know more of them.
type APICode string

// The codes.
const (
	APIInvalid     APICode = "400" // the request does not parse, or a field is wrong, which is named: asking again is no use
	APIForbidden   APICode = "403" // MX does not let this client do that
	APINotFound    APICode = "404" // MX knows no such member (get: nothing is known of it here)
	APIConflict    APICode = "409" // MX will not give a URI for this member, as when its bank does not use OAuth
	APIFailed      APICode = "500" // it cannot be done, and asking again is no use; the service's log says more
	APIUnavailable APICode = "503" // not now: MX or NATS cannot be asked, or fails for this member, or the service stops. Nothing holds the request: ask again
	APIDeadline    APICode = "504" // not done within the request's time; a refresh goes on, and its event comes
)

// APICodes returns all codes.
func APICodes() []APICode {
	return []APICode{APIInvalid, APIForbidden, APINotFound, APIConflict, APIFailed, APIUnavailable, APIDeadline}
}

// Meaning says, for documents, what c tells; empty for a code that is not one of
// [APICodes].
func (c APICode) Meaning() string {
	switch c {
	case APIInvalid:
		return "the request does not parse, or a field is wrong, which the message names"
	case APIForbidden:
		return "MX does not let this client do that"
	case APINotFound:
		return "no such member: MX knows none (get: nothing is known of it here)"
	case APIConflict:
		return "MX gives no URI for this member, as when its bank does not use OAuth"
	case APIFailed:
		return "it cannot be done, and asking again is no use"
	case APIUnavailable:
		return "not now; nothing holds the request, ask again"
	case APIDeadline:
		return "not done within timeout_ms; a refresh goes on, and its event comes"
	}
	return ""
}

// APIError is the body of an answer that is an error.
type APIError struct {
	Code    APICode `json:"code"`
	Message string  `json:"message"`
}

// Error returns code and message.
func (e *APIError) Error() string { return string(e.Code) + ": " + e.Message }

// RefreshRequest asks to read a member from MX, to publish what changed, and to
// be answered when that is done.
type RefreshRequest struct {
	Command
	// TimeoutMS is how long to wait for the answer, in milliseconds; 0: [DefaultAPITimeout].
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
}

// Validate returns every problem of r at once, each naming its field.
func (r RefreshRequest) Validate() error {
	return errors.Join(r.Command.Validate(), validateTimeout(r.TimeoutMS))
}

// RefreshResponse tells how a refresh ended. Its outcome is changed or
// unchanged; every other end is an error.
type RefreshResponse struct {
	Result Result `json:"result"`
	// State is the data of the member's last event when the refresh was done. Its
	// revision is higher than the result's when another change came right after;
	// nil: there is none (yet), or it could not be read.
	State *Data `json:"state"`
}

// GetRequest asks for the last state of a member, without asking MX.
type GetRequest struct {
	// User and Member are guids, or the partner's own ids once the service has seen them.
	User   string `json:"user"`
	Member string `json:"member"`
	// TimeoutMS is how long to wait for the answer, in milliseconds; 0: [DefaultAPITimeout].
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
}

// Validate returns every problem of r at once, each naming its field.
func (r GetRequest) Validate() error {
	return errors.Join(Command{User: r.User, Member: r.Member}.Validate(), validateTimeout(r.TimeoutMS))
}

// GetResponse is the last state of a member: its last event, in short.
type GetResponse struct {
	UserGUID   string `json:"user_guid"`
	MemberGUID string `json:"member_guid"`
	EventID    string `json:"event_id"`
	EventType  Type   `json:"event_type"`
	State      Data   `json:"state"`
}

// Where a user comes from when MX sends them to a bank.
const (
	ReferralBrowser = "BROWSER"
	ReferralApp     = "APP"
)

// OAuthURIRequest asks MX for a fresh URI to send the member's user to. Without
// both of ReferralSource and ClientRedirectURL, those of the service's settings count.
type OAuthURIRequest struct {
	User   string `json:"user"`   // guid or the partner's own id
	Member string `json:"member"` // likewise
	// ReferralSource is BROWSER, APP or empty.
	ReferralSource string `json:"referral_source,omitempty"`
	// ClientRedirectURL is where the user lands afterwards; MX heeds it only with APP.
	ClientRedirectURL string `json:"client_redirect_url,omitempty"`
	// EnableApp2App tells whether the bank's own app may be opened; nil: MX decides.
	EnableApp2App *bool `json:"enable_app2app,omitempty"`
	// SkipAggregation tells not to aggregate once the user has authorized; nil: MX decides.
	SkipAggregation *bool `json:"skip_aggregation,omitempty"`
	// UIMessageWebviewURLScheme is the scheme of the app whose web view shows the window.
	UIMessageWebviewURLScheme string `json:"ui_message_webview_url_scheme,omitempty"`
	// TimeoutMS is how long to wait for the answer, in milliseconds; 0: [DefaultAPITimeout].
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
}

// maxRedirect bounds client_redirect_url, in bytes: it travels in a URL.
const maxRedirect = 2048

// Validate returns every problem of r at once, each naming its field.
func (r OAuthURIRequest) Validate() error {
	return errors.Join(
		Command{User: r.User, Member: r.Member}.Validate(),
		r.validateReferral(),
		validateTimeout(r.TimeoutMS),
	)
}

// urlScheme is RFC 3986's form of a scheme, and more than any app's is long.
var urlScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]{0,63}$`)

func (r OAuthURIRequest) validateReferral() error {
	if s := r.UIMessageWebviewURLScheme; s != "" && !urlScheme.MatchString(s) {
		return fmt.Errorf("ui_message_webview_url_scheme: %q is not the scheme of a URL, without its colon", clip(s))
	}
	switch r.ReferralSource {
	case "", ReferralBrowser, ReferralApp:
	default:
		return fmt.Errorf("referral_source: %q is neither %s nor %s", clip(r.ReferralSource), ReferralBrowser, ReferralApp)
	}
	if r.ClientRedirectURL == "" {
		return nil
	}
	if r.ReferralSource != ReferralApp {
		return fmt.Errorf("client_redirect_url: MX heeds it only with referral_source %s", ReferralApp)
	}
	// An app's own scheme is the usual case, so any absolute URL will do.
	if u, err := url.Parse(r.ClientRedirectURL); err != nil || u.Scheme == "" || len(r.ClientRedirectURL) > maxRedirect {
		return fmt.Errorf("client_redirect_url: is not an absolute URL of at most %d bytes", maxRedirect)
	}
	return nil
}

// OAuthURIResponse carries a URI. Whoever holds it can act in the user's place
// until it is used, which is possible once.
type OAuthURIResponse struct {
	OAuthWindowURI string `json:"oauth_window_uri"`
}

func validateTimeout(ms int64) error {
	if most := MaxAPITimeout.Milliseconds(); ms < 0 || ms > most {
		return fmt.Errorf("timeout_ms: %d is out of range; give 1 to %d, or none for %d", ms, most, DefaultAPITimeout.Milliseconds())
	}
	return nil
}

// Timeout is how long whoever gave ms as timeout_ms wants to wait.
func Timeout(ms int64) time.Duration {
	if ms == 0 {
		return DefaultAPITimeout
	}
	return time.Duration(ms) * time.Millisecond
}
