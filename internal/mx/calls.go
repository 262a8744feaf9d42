package mx

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
)

// OAuthOptions says how the user will come to the OAuth window. Without both of ReferralSource and ClientRedirectURL, those
// of Config count. What is nil or empty is not sent: MX decides.
type OAuthOptions struct {
	ReferralSource            string // BROWSER, APP or empty
	ClientRedirectURL         string // where the user lands afterwards; only with APP
	EnableApp2App             *bool  // whether the bank's own app may be opened
	SkipAggregation           *bool  // whether not to aggregate once the user has authorized
	UIMessageWebviewURLScheme string // scheme of the app whose web view shows the window
}

// errID refuses ids that would change the path: "." and ".." are resolved on the way, an empty one ends a list's path.
var errID = errors.New("ids of user and member must not be empty, a dot or two dots")

// ReadMember reads a member. user and member are each MX's guid or the partner's own id. When they are guids, so are those
// of the member returned. It does not wait for the bank: the answer is what MX knows.
func (c *Client) ReadMember(ctx context.Context, user, member string) (Member, error) {
	path, err := memberPath(OpReadMember, user, member, "")
	if err != nil {
		return Member{}, err
	}
	return call(ctx, c, &request{
		op: OpReadMember, method: http.MethodGet, path: path, want: http.StatusOK, user: user, member: member,
	}, decodeMember)
}

// OAuthWindowURI has MX generate a URI to send the member's user to. Every call generates another one, of which each can be
// used once. The error has [ErrNoURI] in its chain when the answer holds a blank one, and is [BadRequest] when the
// institution is not an OAuth one. The string returned is a secret: see [URI].
func (c *Client) OAuthWindowURI(ctx context.Context, user, member string, opts OAuthOptions) (string, error) {
	if opts.ReferralSource == "" && opts.ClientRedirectURL == "" {
		opts.ReferralSource, opts.ClientRedirectURL = c.referral.ReferralSource, c.referral.ClientRedirectURL
	}
	path, err := memberPath(OpOAuthWindowURI, user, member, "/oauth_window_uri")
	if err != nil {
		return "", err
	}
	if err := checkReferral(opts.ReferralSource, opts.ClientRedirectURL); err != nil {
		return "", &CallError{Kind: BadRequest, Op: OpOAuthWindowURI, Err: err}
	}
	uri, err := call(ctx, c, &request{
		op: OpOAuthWindowURI, method: http.MethodGet, path: path, query: opts.query().Encode(), want: http.StatusOK,
		user: user, member: member,
	}, decodeOAuthURI)
	return uri.Reveal(), err
}

func (o *OAuthOptions) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"referral_source": o.ReferralSource, "client_redirect_url": o.ClientRedirectURL,
		"ui_message_webview_url_scheme": o.UIMessageWebviewURLScheme,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]*bool{"enable_app2app": o.EnableApp2App, "skip_aggregation": o.SkipAggregation} {
		if value != nil {
			query.Set(name, strconv.FormatBool(*value))
		}
	}
	return query
}

// Aggregate asks MX to fetch the member's data from the bank. started is false when another job is running already, which
// is no error. MX also says that it started when an aggregation runs already or the last one was too short ago.
func (c *Client) Aggregate(ctx context.Context, user, member string) (started bool, err error) {
	path, err := memberPath(OpAggregate, user, member, "/aggregate")
	if err != nil {
		return false, err
	}
	started, err = call(ctx, c, &request{
		op: OpAggregate, method: http.MethodPost, path: path, want: http.StatusAccepted, user: user, member: member,
	}, decodeNothing)
	if KindOf(err) == Conflict {
		return false, nil
	}
	return started, err
}

// memberPath escapes both ids, once. A request that cannot be made is a BadRequest that was not sent.
func memberPath(op, user, member, suffix string) (string, error) {
	if !validID(user) || !validID(member) {
		return "", &CallError{Kind: BadRequest, Op: op, Err: errID}
	}
	return "/users/" + url.PathEscape(user) + "/members/" + url.PathEscape(member) + suffix, nil
}

func validID(id string) bool { return id != "" && id != "." && id != ".." }

// decodeOAuthURI reads {"member":{"guid":…,"oauth_window_uri":…}}. A guid that is absent is not missed, one of another
// member is refused: its user must not be sent to this window.
func decodeOAuthURI(s *scanner, r *request) (URI, error) {
	var draft memberDraft
	for s.object(); s.nextKey(); {
		if string(s.key) == "member" {
			draft.read(s)
		} else {
			s.skip()
		}
	}
	if err := s.done(); err != nil {
		return "", err
	}
	if guid := draft.guid.of(string(s.arena)); guid != "" && isMemberGUID(r.member) && guid != r.member {
		return "", errOtherMember
	}
	if draft.uri.Blank() {
		return "", ErrNoURI
	}
	return draft.uri, nil
}

// decodeNothing takes any answer: its status said it all.
func decodeNothing(*scanner, *request) (bool, error) { return true, nil }
