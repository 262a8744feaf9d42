package bus

import (
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// endpoint is one of the service's.
type endpoint struct {
	name        string
	description string
	request     string // JSON Schema
	response    string // in words: the Go types say it in full
	errors      string
	// read checks a request and returns what carries it out, and how long that may take.
	read func(c *apiCall, body []byte) (serveFunc, time.Duration, error)
}

// Parts of the requests' schemas.
const (
	schemaHead = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["user","member"],"properties":{` +
		`"user":{"type":"string","minLength":1,"description":"USR-… or your own id"},` +
		`"member":{"type":"string","minLength":1,"description":"MBR-… or your own id"},`
	schemaTail = `"timeout_ms":{"type":"integer","minimum":0,"maximum":60000,"default":10000,"description":"how long to wait for the answer"}}}`
)

// endpoints are all of them. What is said of them here is what "nats micro info" shows.
func (*API) endpoints() []endpoint {
	return []endpoint{
		{
			name: events.APIRefresh,
			description: "Reads a member from MX, publishes what changed, and answers when that is done. " +
				"When the time is up the refresh goes on: its event still comes.",
			request: schemaHead +
				`"command_id":{"type":"string","pattern":"^[A-Za-z0-9_-]{1,64}$","description":"correlationid of the event"},` +
				`"aggregate":{"type":"boolean","description":"have MX aggregate at the bank first"},` +
				`"reason":{"type":"string","maxLength":256,"description":"carried to the event, for people"},` + schemaTail,
			response: `{"result": outcome changed or unchanged, user_guid, member_guid, revision; when changed event_id and event_type; "state": data of the member's last event}`,
			errors:   "400 a field is wrong; 404 MX knows no such member; 500 not possible; 503 not now, ask again; 504 timeout_ms is up",
			read:     readRefresh,
		},
		{
			name:        events.APIGet,
			description: "Tells a member's last known state without asking MX. Own ids are known once the member was refreshed by them.",
			request:     schemaHead + schemaTail,
			response:    `{"user_guid", "member_guid", "event_id", "event_type", "state": data of the member's last event}`,
			errors:      "400 a field is wrong; 404 nothing is known of the member; 500 its last event is unreadable; 503 not now, ask again; 504 timeout_ms is up",
			read:        readGet,
		},
		{
			name: events.APIOAuthURI,
			description: "Has MX generate a fresh URI to send the member's user to. It is for the caller alone: neither stored nor logged, " +
				"and whoever holds it can act in the user's place until it is used.",
			request: schemaHead +
				`"referral_source":{"enum":["","BROWSER","APP"],"description":"where the user comes from; APP in a browser breaks the bank's flow"},` +
				`"client_redirect_url":{"type":"string","maxLength":2048,"description":"where the user lands afterwards; only with APP"},` +
				`"enable_app2app":{"type":"boolean","description":"whether the bank's own app may be opened"},` +
				`"skip_aggregation":{"type":"boolean","description":"whether not to aggregate once the user has authorized"},` +
				`"ui_message_webview_url_scheme":{"type":"string","pattern":"^[A-Za-z][A-Za-z0-9+.-]{0,63}$","description":"of the app whose web view shows the window"},` +
				schemaTail,
			response: `{"oauth_window_uri"}`,
			errors: "400 a field is wrong; 403 MX does not let this client; 404 MX knows no such member; " +
				"409 MX gives no URI for this member; 503 not now, ask again; 504 timeout_ms is up",
			read: readOAuthURI,
		},
	}
}

func (e *endpoint) metadata() map[string]string {
	return map[string]string{"description": e.description, "request": e.request, "response": e.response, "errors": e.errors}
}
