package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

const defaultAddr = "127.0.0.1:8085"

// config is what the environment says; see usage.
type config struct {
	Addr        string
	TLS         *tls.Config // nil: http
	ClientID    string
	APIKey      string
	Latency     time.Duration
	Nasty       bool
	Seed        uint64
	Log         mxsim.LogMode
	Members     int
	SettleAfter time.Duration
	SettleReads int
}

// load reads the settings and returns every problem with them at once.
func load(getenv func(string) (string, bool)) (config, error) {
	e := environment{getenv: getenv}
	c := config{
		Addr:        read(&e, "MXSIM_ADDR", defaultAddr, "host:port, such as "+defaultAddr, address),
		ClientID:    read(&e, "MXSIM_CLIENT_ID", mxsim.DefaultClientID, "a text", text),
		APIKey:      read(&e, "MXSIM_API_KEY", mxsim.DefaultAPIKey, "a text", text),
		Latency:     read(&e, "MXSIM_LATENCY", 0, "a duration such as 20ms", duration),
		Nasty:       read(&e, "MXSIM_NASTY", false, "true or false", strconv.ParseBool),
		Seed:        read(&e, "MXSIM_SEED", 1, "a whole number from 0 on", seed),
		Log:         read(&e, "MXSIM_LOG", mxsim.LogOff, "off, last or all", logMode),
		Members:     read(&e, "MXSIM_MEMBERS", 0, "a whole number from 0 on", count),
		SettleAfter: read(&e, "MXSIM_SETTLE_AFTER", 2*time.Second, "a duration such as 2s", duration),
		SettleReads: read(&e, "MXSIM_SETTLE_READS", 0, "a whole number from 0 on", count),
	}
	c.TLS = e.certificate(read(&e, "MXSIM_TLS_CERT", "", "a file", text), read(&e, "MXSIM_TLS_KEY", "", "a file", text))
	if len(e.problems) > 0 {
		return config{}, fmt.Errorf("%w: wrong settings (mxsim --help lists them all):\n%w", errUsage, errors.Join(e.problems...))
	}
	return c, nil
}

// environment is where settings come from, and what was wrong with them so far.
type environment struct {
	getenv   func(string) (string, bool)
	problems []error
}

// read returns what a variable says, otherwise when it is not set, or empty as in a
// compose file that nobody filled in. want describes its form.
func read[T any](e *environment, name string, otherwise T, want string, parse func(string) (T, error)) T {
	value, _ := e.getenv(name)
	if value == "" {
		return otherwise
	}
	parsed, err := parse(value)
	if err != nil {
		e.problems = append(e.problems, fmt.Errorf("%s: %.40q is not %s", name, value, want))
		return otherwise
	}
	return parsed
}

// certificate returns how to serve https with these files, nil without any.
func (e *environment) certificate(cert, key string) *tls.Config {
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "" || key == "":
		e.problems = append(e.problems, errors.New("MXSIM_TLS_CERT and MXSIM_TLS_KEY: give both or neither"))
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		e.problems = append(e.problems, fmt.Errorf("MXSIM_TLS_CERT and MXSIM_TLS_KEY: %w", err))
		return nil
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// errForm: a value has another form than it should. [read] says which.
var errForm = errors.New("another form")

func text(s string) (string, error) { return s, nil }

func address(s string) (string, error) {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	return s, err
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errForm
	}
	return d, err
}

func seed(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && n < 0 {
		err = errForm
	}
	return n, err
}

func logMode(s string) (mxsim.LogMode, error) {
	mode := mxsim.LogMode(s)
	if !slices.Contains([]mxsim.LogMode{mxsim.LogOff, mxsim.LogLast, mxsim.LogAll}, mode) {
		return "", errForm
	}
	return mode, nil
}
