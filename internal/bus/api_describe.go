package bus

import (
	"slices"
	"strings"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// endpoint is one of the service's.
type endpoint struct {
	name     string
	request  string // JSON Schema
	response string // in words: the Go types say it in full
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

// endpoints are all of them.
func (*API) endpoints() []endpoint {
	return []endpoint{
		{
			name: events.APIRefresh,
			request: schemaHead +
				`"command_id":{"type":"string","pattern":"^[A-Za-z0-9_-]{1,64}$","description":"correlationid of the event"},` +
				`"aggregate":{"type":"boolean","description":"have MX aggregate at the bank first"},` +
				`"reason":{"type":"string","maxLength":256,"description":"carried to the event, for people"},` + schemaTail,
			response: `{"result": outcome changed or unchanged, user_guid, member_guid, revision; when changed event_id and event_type; "state": data of the member's last event}`,
			read:     readRefresh,
		},
		{
			name:     events.APIGet,
			request:  schemaHead + schemaTail,
			response: `{"user_guid", "member_guid", "event_id", "event_type", "state": data of the member's last event}`,
			read:     readGet,
		},
		{
			name: events.APIOAuthURI,
			request: schemaHead +
				`"referral_source":{"enum":["","BROWSER","APP"],"description":"where the user comes from; APP in a browser breaks the bank's flow"},` +
				`"client_redirect_url":{"type":"string","maxLength":2048,"description":"where the user lands afterwards; only with APP"},` +
				`"enable_app2app":{"type":"boolean","description":"whether the bank's own app may be opened"},` +
				`"skip_aggregation":{"type":"boolean","description":"whether not to aggregate once the user has authorized"},` +
				`"ui_message_webview_url_scheme":{"type":"string","pattern":"^[A-Za-z][A-Za-z0-9+.-]{0,63}$","description":"of the app whose web view shows the window"},` +
				schemaTail,
			response: `{"oauth_window_uri"}; whoever holds it can act in the user's place until it is used`,
			read:     readOAuthURI,
		},
	}
}

// metadata is what "nats micro info" shows of e. What the catalog of requests
// says of it comes from there.
func (e *endpoint) metadata() map[string]string {
	about := events.Endpoints()
	of := about[slices.IndexFunc(about, func(a events.Endpoint) bool { return a.Name == e.name })]
	var refusals []string
	for _, c := range of.Codes {
		refusals = append(refusals, string(c)+" "+c.Meaning())
	}
	return map[string]string{"description": of.What, "request": e.request, "response": e.response, "errors": strings.Join(refusals, "; ")}
}
