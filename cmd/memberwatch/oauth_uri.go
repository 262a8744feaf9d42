package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
)

// errNobodyAnswers: no worker takes requests.
var errNobodyAnswers = errors.New("nobody answers; is a worker running here, with this SUBJECT_PREFIX?")

func (p *program) oauthURICommand() *cobra.Command {
	var r events.OAuthURIRequest
	var timeout time.Duration
	var app2app, skip bool
	c := &cobra.Command{
		Use:   "oauth-uri USER MEMBER",
		Short: "Get a fresh URI for a member's user to authorize at",
		Long: `oauth-uri has MX generate a URI to send the member's user to, and prints it. USER
and MEMBER are MX's guids or your own ids. It works once; until then whoever has it
can act in the user's place. The service neither keeps nor logs it.`,
		Example: `  memberwatch oauth-uri USR-9f1 MBR-7c2
  memberwatch oauth-uri anna riverbank --referral-source APP --client-redirect-url myapp://connected`,
		Args: exactly("USER", "MEMBER"),
		RunE: func(c *cobra.Command, args []string) error {
			r.User, r.Member, r.TimeoutMS = args[0], args[1], timeout.Milliseconds()
			if timeout < time.Millisecond {
				return usagef("--timeout: %s is no time to wait", timeout)
			}
			if c.Flags().Changed("app2app") {
				r.EnableApp2App = &app2app
			}
			if c.Flags().Changed("skip-aggregation") {
				r.SkipAggregation = &skip
			}
			if err := r.Validate(); err != nil {
				return usagef("%w", err)
			}
			return p.oauthURI(c.Context(), r)
		},
	}
	f := c.Flags()
	f.StringVar(&r.ReferralSource, "referral-source", "", "where the user comes from: BROWSER or APP (default: as the service is set)")
	f.StringVar(&r.ClientRedirectURL, "client-redirect-url", "", "where the user lands afterwards; only with APP")
	f.BoolVar(&app2app, "app2app", false, "whether the bank's own app may be opened (default: as MX decides)")
	f.BoolVar(&skip, "skip-aggregation", false, "whether MX is not to aggregate once the user has authorized (default: as MX decides)")
	f.StringVar(&r.UIMessageWebviewURLScheme, "webview-scheme", "", "scheme of the app whose web view shows the window")
	f.DurationVar(&timeout, "timeout", events.DefaultAPITimeout, "how long to wait")
	return c
}

func (p *program) oauthURI(ctx context.Context, r events.OAuthURIRequest) error {
	c, err := p.session(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	var response events.OAuthURIResponse
	if err := c.ask(ctx, events.APIOAuthURI, r, events.Timeout(r.TimeoutMS), &response); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, response.OAuthWindowURI)
	return nil
}

// ask sends a request to an endpoint of the service and reads the answer.
func (c *session) ask(ctx context.Context, endpoint string, request any, timeout time.Duration, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encoding request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+reachTimeout) // the service knows best when the time is up
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, c.subjects.API(endpoint), body)
	if errors.Is(err, nats.ErrNoResponders) {
		return errNobodyAnswers
	}
	if err != nil {
		return fmt.Errorf("asking the service: %w", err)
	}
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		return fmt.Errorf("the service answers: %w", &events.APIError{Code: events.APICode(code), Message: m.Header.Get(micro.ErrorHeader)})
	}
	if err := json.Unmarshal(m.Data, response); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
