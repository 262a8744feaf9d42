package mx

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// askThrough makes a GET of target and returns the body.
func askThrough(ctx context.Context, tr *http.Transport, target string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func TestASilentProxyKeepsNoConnectionForGood(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https", "socks5"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pipes, opened := piped(hang)
				tr := newProxied(&Config{Timeout: time.Second, MaxInFlight: 1}, &url.URL{Scheme: scheme, Host: "proxy.test"}, &tls.Config{}, pipes.dial)
				for calls := range int32(3) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if text, err := askThrough(ctx, tr, "https://mx.test/"); err == nil {
						t.Errorf("answer is %q", text)
					}
					cancel()
					if n := opened.Load(); n != calls+1 {
						t.Errorf("after %d calls %d connections were opened", calls+1, n)
					}
					time.Sleep(2 * idleTimeout)
				}
			})
		})
	}
}

func TestAProxiedConnectionThatWasIdleHasAllOfACallsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		pipes, opened := piped(func(conn net.Conn) {
			for in := bufio.NewReader(conn); ; {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				time.Sleep(timeout - time.Millisecond)
				_, _ = io.WriteString(conn, okAnswer)
			}
		})
		tr := newProxied(&Config{Timeout: timeout, MaxInFlight: 1}, &url.URL{Scheme: "http", Host: "proxy.test"}, nil, pipes.dial)
		defer tr.CloseIdleConnections()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			if text, err := askThrough(ctx, tr, "http://mx.test/"); text != "ok" || err != nil || opened.Load() != 1 {
				t.Errorf("answer is %q, error %v, over connection %d", text, err, opened.Load())
			}
			cancel()
			time.Sleep(idleTimeout - time.Millisecond)
		}
	})
}

func TestAKeyInTheClearIsShownToNoProxy(t *testing.T) {
	t.Parallel()
	known := &url.URL{Scheme: "http", Host: "proxy.test:3128"}
	for base, want := range map[string]*url.URL{
		"http://localhost:8080": nil, "http://LOCALHOST:8080": nil, "HTTP://LocalHost": nil, "http://127.0.0.1:1": nil,
		"http://[::1]:1": nil, "https://int-api.mx.com": known,
	} {
		u, err := parseBase(base)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := proxyFor(u, http.ProxyURL(known)); got != want || err != nil {
			t.Errorf("%s is reached through %v, error %v", base, got, err)
		}
	}
}
