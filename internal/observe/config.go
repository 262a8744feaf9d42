package observe

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
)

// Forms of a log line; the values of LOG_FORMAT.
const (
	FormatAuto = "auto" // text on a terminal, else JSON
	FormatJSON = "json"
	FormatText = "text"
)

// Config is what the package is told from outside, by go-envconfig.
type Config struct {
	// LogLevel is the least level that is written: debug, info, warn or error.
	LogLevel string `env:"LOG_LEVEL, default=info" desc:"Least level that is logged: debug, info, warn or error."`
	// LogFormat is json, text or auto.
	LogFormat string `env:"LOG_FORMAT, default=auto" desc:"Form of a log line: json, text, or auto (text on a terminal)."`
	// HTTPAddr is where health and metrics are served, as host:port. The default listens on all
	// addresses, since in a container nobody else could reach it; nothing secret is served.
	HTTPAddr string `env:"HTTP_ADDR, default=:8080" desc:"Where health and metrics are served, as host:port."`
}

// Problems returns everything that is wrong, each error naming the variable and
// the fix.
func (c *Config) Problems() []error {
	var problems []error
	if _, err := c.level(); err != nil {
		problems = append(problems, err)
	}
	switch c.LogFormat {
	case FormatAuto, FormatJSON, FormatText:
	default:
		problems = append(problems, fmt.Errorf("LOG_FORMAT: %q is no format: set it to auto, json or text", c.LogFormat))
	}
	if _, port, err := net.SplitHostPort(c.HTTPAddr); err != nil || !isPort(port) {
		problems = append(problems, fmt.Errorf("HTTP_ADDR: %q is not host:port: set it to an address such as :8080 or 127.0.0.1:8080", c.HTTPAddr))
	}
	return problems
}

// isPort reports whether s is the number of a port; 0 is any free one.
func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func (c *Config) level() (slog.Level, error) {
	switch c.LogLevel {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("LOG_LEVEL: %q is no level: set it to debug, info, warn or error", c.LogLevel)
}
