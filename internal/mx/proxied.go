package mx

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

// dialFunc opens a connection, as net.Dialer's DialContext does.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newProxied returns net/http's transport for requests through proxy. It goes on with the opening of a connection when the
// call that wanted one is over, so each step has a limit of its own.
func newProxied(config *Config, proxy *url.URL, tlsConfig *tls.Config, dial dialFunc) *http.Transport {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyURL(proxy),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &patient{conn, idleTimeout + config.Timeout}, nil
		},
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    config.Timeout,
		Protocols:              http1, // Package doc, "Why it looks the way it does".
		DisableCompression:     true,  // Likewise.
		MaxConnsPerHost:        config.MaxInFlight,
		MaxIdleConns:           config.MaxInFlight,
		MaxIdleConnsPerHost:    config.MaxInFlight,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// patient is a connection that waits only so long for bytes. net/http has no limit for the greeting of a SOCKS proxy: each
// one that stayed silent would keep one of MX_MAX_IN_FLIGHT connections for good. While a connection is idle, net/http
// reads from it until the next call has its answer, so that much time there must be.
type patient struct {
	net.Conn
	limit time.Duration
}

// Read reads what comes in time.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.limit)); err != nil { //nolint:forbidigo // Time-outs run on the real clock.
		return 0, err
	}
	return p.Conn.Read(b)
}
