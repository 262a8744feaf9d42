package observe

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// Secret is a credential. It prints as "[redacted]" through fmt (every verb),
// slog, encoding/json and encoding.TextMarshaler; string(s) is the one way to its
// value. Keep it in an exported field: fmt cannot call methods on others.
type Secret string

// String returns "[redacted]", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Values of OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_PROTOCOL and OTEL_TRACES_SAMPLER.
const (
	exporterNone = "none"
	exporterOTLP = "otlp"

	protocolHTTP = "http/protobuf"

	samplerOn           = "always_on"
	samplerOff          = "always_off"
	samplerRatio        = "traceidratio"
	samplerParentOn     = "parentbased_always_on"
	samplerParentOff    = "parentbased_always_off"
	samplerParentRatio  = "parentbased_traceidratio"
	defaultOTLPEndpoint = "http://localhost:4318" // of the protocol's exporters
)

// TraceConfig is what tracing is told from outside, by go-envconfig. Names,
// defaults and forms are those of the OpenTelemetry specification, "Environment
// Variable Specification" and "OTLP Exporter".
type TraceConfig struct {
	Exporter       string `env:"OTEL_TRACES_EXPORTER" desc:"otlp sends traces, none does not. Empty: otlp if an endpoint is set."`
	Endpoint       string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"Where an OpenTelemetry collector takes OTLP over HTTP, such as http://collector:4318."`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" desc:"The same for traces alone, with its path: http://collector:4318/v1/traces."`
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL, default=http/protobuf" desc:"http/protobuf is the only one."`
	Headers        Secret `env:"OTEL_EXPORTER_OTLP_HEADERS" desc:"Headers for the collector, as name=value, several parted by commas."`
	Certificate    string `env:"OTEL_EXPORTER_OTLP_CERTIFICATE" desc:"File with the certificates of authorities that the collector's may come from."`
	ServiceName    string `env:"OTEL_SERVICE_NAME, default=memberwatch" desc:"Name of the service in traces."`
	Resource       string `env:"OTEL_RESOURCE_ATTRIBUTES" desc:"Attributes of the service in traces, as name=value, several parted by commas."`
	Sampler        string `env:"OTEL_TRACES_SAMPLER, default=parentbased_always_on" desc:"Which traces are kept: always_on, always_off, traceidratio, or one of these with parentbased_ in front."`
	SamplerArg     string `env:"OTEL_TRACES_SAMPLER_ARG" desc:"Which part of the traces traceidratio keeps, from 0 to 1."`
}

// Enabled reports whether spans are to be sent anywhere.
func (c *TraceConfig) Enabled() bool {
	return c.Exporter == exporterOTLP || c.Exporter == "" && (c.Endpoint != "" || c.TracesEndpoint != "")
}

// Problems returns everything that is wrong, each error naming the variable and
// the fix. What only counts while tracing is on is only looked at then: platforms
// set these variables for whole fleets.
func (c *TraceConfig) Problems() []error {
	var problems []error
	bad := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	switch c.Exporter {
	case "", exporterNone, exporterOTLP:
	default:
		bad(fmt.Errorf("OTEL_TRACES_EXPORTER: %q is no exporter of this program: set it to otlp or none", c.Exporter))
	}
	if !c.Enabled() {
		return problems
	}
	_, err := c.url()
	bad(err)
	if c.Protocol != protocolHTTP {
		bad(fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not spoken here: set it to http/protobuf, usually with port 4318", c.Protocol))
	}
	_, err = c.header()
	bad(err)
	_, err = c.tls()
	bad(err)
	if strings.TrimSpace(c.ServiceName) == "" {
		bad(errors.New("OTEL_SERVICE_NAME: blank; give a name, or drop it"))
	}
	if _, err := pairs(c.Resource); err != nil {
		bad(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err))
	}
	switch c.Sampler {
	case samplerOn, samplerOff, samplerParentOn, samplerParentOff:
	case samplerRatio, samplerParentRatio:
		_, err = c.ratio()
		bad(err)
	default:
		bad(fmt.Errorf("OTEL_TRACES_SAMPLER: %q is no sampler of this program: set it to always_on, always_off, traceidratio, or parentbased_ and one of these", c.Sampler))
	}
	return problems
}

// url is where spans are posted to.
func (c *TraceConfig) url() (string, error) {
	name, given, path := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.TracesEndpoint, ""
	if given == "" {
		name, given, path = "OTEL_EXPORTER_OTLP_ENDPOINT", cmp.Or(c.Endpoint, defaultOTLPEndpoint), "/v1/traces"
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" { // The text may hold a password.
		return "", fmt.Errorf("%s: not an http or https URL: set it to one such as http://collector:4318", name)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	return u.String(), nil
}

func (c *TraceConfig) header() (http.Header, error) {
	all, err := pairs(string(c.Headers))
	if err != nil {
		return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: not name=value, several parted by commas, special characters as %XX")
	}
	h := http.Header{}
	for _, p := range all {
		h.Set(p[0], p[1])
	}
	return h, nil
}

// tls is how the collector's certificate is checked; nil: as the system does.
func (c *TraceConfig) tls() (*tls.Config, error) {
	if c.Certificate == "" {
		return nil, nil //nolint:nilnil // No file is asked for.
	}
	text, err := os.ReadFile(c.Certificate)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate in PEM", c.Certificate)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func (c *TraceConfig) ratio() (float64, error) {
	if c.SamplerArg == "" {
		return 1, nil
	}
	r, err := strconv.ParseFloat(c.SamplerArg, 64)
	if err != nil || r < 0 || r > 1 {
		return 0, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no part: set it to a number from 0 to 1", c.SamplerArg)
	}
	return r, nil
}

// pairs reads name=value,name=value with percent-encoded values, the form of W3C
// Baggage that the specification gives to such variables.
func pairs(list string) ([][2]string, error) {
	var all [][2]string
	for one := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(one) == "" {
			continue
		}
		name, value, ok := strings.Cut(one, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("%q is not name=value", strings.TrimSpace(one))
		}
		all = append(all, [2]string{name, value})
	}
	return all, nil
}
