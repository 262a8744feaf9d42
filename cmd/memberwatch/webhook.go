package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/settings"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// errNotTaken: the endpoint did not take the webhook.
var errNotTaken = errors.New("webhook not taken")

// sendTimeout bounds how long a webhook may take to be answered. The service
// gives up storing it before that.
const sendTimeout = 10 * time.Second

func (p *program) webhookCommand() *cobra.Command {
	var to hookTarget
	var typ string
	send := &cobra.Command{
		Use:   "send USER_GUID MEMBER_GUID",
		Short: "Send a sample of MX's webhook to a service",
		Long: `send posts a webhook as MX sends it to the service at WEBHOOK_ADDR, with the
credentials that WEBHOOK_USER and WEBHOOK_PASSWORD or WEBHOOK_TOKEN name. What the
sample says of the member does not matter: the service reads the member.

Over https it trusts what this machine trusts and WEBHOOK_TLS_CERT. To a service that
asks senders for a certificate (WEBHOOK_TLS_CLIENT_CA) it shows that of --cert and
--key.`,
		Example: `  memberwatch webhook send USR-9f1 MBR-7c2
  memberwatch webhook send --type AGGREGATION --url https://hooks.example.com/webhooks/mx USR-9f1 MBR-7c2
  memberwatch webhook send --cert mx.pem --key mx-key.pem USR-9f1 MBR-7c2`,
		Args: exactly("USER_GUID", "MEMBER_GUID"),
		RunE: func(c *cobra.Command, args []string) error {
			if !events.IsUserGUID(args[0]) || !events.IsMemberGUID(args[1]) {
				return usagef("MX's webhooks name members by guids: give USR-… and MBR-…")
			}
			if err := (events.Command{User: args[0], Member: args[1]}).Validate(); err != nil {
				return usagef("%w", err)
			}
			if !events.ValidToken(typ) {
				return usagef("--type: %.80q is no type such as %s", typ, webhook.TypeConnectionStatus)
			}
			body, err := webhook.Sample(typ, args[0], args[1])
			if err != nil {
				return err
			}
			return p.sendWebhook(c.Context(), to, body)
		},
	}
	send.Flags().StringVar(&to.url, "url", "", "where to (default: at WEBHOOK_ADDR, on this machine)")
	send.Flags().StringVar(&to.cert, "cert", "", "file with a certificate to show to the service")
	send.Flags().StringVar(&to.key, "key", "", "file with the key of --cert")
	send.Flags().StringVar(&typ, "type", webhook.TypeConnectionStatus, "MX's type of the webhook; MEMBER, AGGREGATION or any other")
	return group("webhook", "Try the door for MX's webhooks",
		`webhook sends what MX sends, to see that it arrives.`, `  memberwatch webhook send USR-9f1 MBR-7c2`, send)
}

// hookTarget is where a webhook goes, and the certificate to show there: files,
// both empty for none.
type hookTarget struct{ url, cert, key string }

func (p *program) sendWebhook(ctx context.Context, to hookTarget, body []byte) error {
	var c webhook.Config
	if err := wrongSettings(append(settings.Read(ctx, p.env, &c), c.Problems()...)); err != nil {
		return err
	}
	target, err := webhookURL(to.url, &c)
	if err != nil {
		return err
	}
	client, err := webhookClient(&c, to)
	if err != nil {
		return err
	}
	if err := postWebhook(ctx, client, &c, target, body); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "taken      %s\n", target)
	return nil
}

// postWebhook sends a webhook with the credentials in c. The error is errNotTaken.
func postWebhook(ctx context.Context, client *http.Client, c *webhook.Config, target string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return usagef("--url: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	switch {
	case c.User != "":
		req.SetBasicAuth(c.User, string(c.Password))
	case c.Token != "":
		req.Header.Set("Authorization", "Bearer "+string(c.Token))
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxReport)) // What it says beside the status is for people.
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%w: %s answers %d: %s", errNotTaken, target, resp.StatusCode, bytes.TrimSpace(answer))
	}
	return nil
}

// webhookURL is where to send to: what was given, or where WEBHOOK_ADDR is
// reached from this machine.
func webhookURL(given string, c *webhook.Config) (string, error) {
	if given != "" {
		u, err := url.Parse(given)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			return "", usagef("--url: not a URL such as http://127.0.0.1:8081%s, without credentials", webhook.Path)
		}
		return given, nil
	}
	if !c.Enabled() {
		return "", usagef("give --url, or set WEBHOOK_ADDR as the service has it")
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return "", usagef("WEBHOOK_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // "All addresses" is no address to dial.
	}
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + webhook.Path, nil
}

// webhookClient makes no use of proxies: the service is near. It follows no
// redirect, so that the credentials go where they were sent.
func webhookClient(c *webhook.Config, to hookTarget) (*http.Client, error) {
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	switch {
	case (to.cert == "") != (to.key == ""):
		return nil, usagef("--cert and --key: give both or neither")
	case to.cert != "":
		pair, err := tls.LoadX509KeyPair(to.cert, to.key)
		if err != nil {
			return nil, usagef("--cert and --key: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	if c.TLSCert != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := os.ReadFile(c.TLSCert)
		if err != nil {
			return nil, usagef("WEBHOOK_TLS_CERT: %w", err)
		}
		pool.AppendCertsFromPEM(pem)
		t.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}
