package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProblemsNameEverySettingAndNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pki := newPKI(t, dir)
	broken := filepath.Join(dir, "broken.pem")
	if err := os.WriteFile(broken, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config Config
		want   []string // in this order; none: fine
	}{
		"off":                     {Config{User: "half", TLSKey: "half"}, nil},
		"loopback":                {Config{Addr: "127.0.0.1:0", Token: "hunter2"}, nil},
		"localhost":               {Config{Addr: "localhost:0", User: "mx", Password: "hunter2"}, nil},
		"everywhere, by proxy":    {Config{Addr: ":8081", Token: "hunter2", BehindProxy: true}, nil},
		"everywhere, by TLS":      {Config{Addr: ":8443", Token: "hunter2", TLSCert: pki.cert, TLSKey: pki.key}, nil},
		"certificates alone":      {Config{Addr: ":8443", TLSCert: pki.cert, TLSKey: pki.key, TLSClientCA: pki.cert}, nil},
		"no address":              {Config{Addr: "8081", Token: "hunter2"}, []string{"WEBHOOK_ADDR: "}},
		"a port too far":          {Config{Addr: "127.0.0.1:65536", Token: "hunter2"}, []string{"WEBHOOK_ADDR: "}},
		"a port without number":   {Config{Addr: "127.0.0.1:https", Token: "hunter2"}, []string{"WEBHOOK_ADDR: "}},
		"in the clear":            {Config{Addr: "0.0.0.0:8081", Token: "hunter2"}, []string{"WEBHOOK_ADDR: \"0.0.0.0:8081\" would take passwords in the clear"}},
		"open to all":             {Config{Addr: "127.0.0.1:0"}, []string{"anybody could send webhooks"}},
		"half a password":         {Config{Addr: "127.0.0.1:0", Password: "hunter2"}, []string{"WEBHOOK_USER and WEBHOOK_PASSWORD: "}},
		"a colon":                 {Config{Addr: "127.0.0.1:0", User: "m:x", Password: "hunter2"}, []string{"WEBHOOK_USER: "}},
		"line ends":               {Config{Addr: "127.0.0.1:0", User: "mx", Password: "hunter2\n", Token: "hunter2\n"}, []string{"WEBHOOK_PASSWORD: ", "WEBHOOK_TOKEN: "}},
		"half a certificate":      {Config{Addr: "127.0.0.1:0", Token: "hunter2", TLSKey: pki.key}, []string{"WEBHOOK_TLS_CERT and WEBHOOK_TLS_KEY: "}},
		"no certificate":          {Config{Addr: "127.0.0.1:0", Token: "hunter2", TLSCert: broken, TLSKey: pki.key}, []string{"WEBHOOK_TLS_CERT and WEBHOOK_TLS_KEY: "}},
		"authorities without TLS": {Config{Addr: "127.0.0.1:0", TLSClientCA: pki.cert}, []string{"WEBHOOK_TLS_CLIENT_CA: needs"}},
		"no authorities": {
			Config{Addr: "127.0.0.1:0", TLSCert: pki.cert, TLSKey: pki.key, TLSClientCA: broken},
			[]string{"WEBHOOK_TLS_CLIENT_CA: "},
		},
		"everything": {
			Config{Addr: "x", Token: "hunter2 ", User: "u", TLSCert: "nowhere.pem", TLSKey: "nowhere.pem", TLSClientCA: "nowhere.pem"},
			[]string{"WEBHOOK_ADDR: ", "WEBHOOK_USER and", "WEBHOOK_TOKEN: ", "WEBHOOK_TLS_CERT and", "WEBHOOK_TLS_CLIENT_CA: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := c.config.Problems()
			if len(got) != len(c.want) {
				t.Fatalf("problems %q, want %d", got, len(c.want))
			}
			for i, err := range got {
				if !strings.Contains(err.Error(), c.want[i]) {
					t.Errorf("%q, want %q", err, c.want[i])
				}
			}
			if all := fmt.Sprint(errors.Join(got...)); strings.Contains(all, "hunter2") {
				t.Errorf("a secret is printed: %s", all)
			}
		})
	}
}

func TestSecretsPrintAsNothing(t *testing.T) {
	t.Parallel()
	c := Config{Password: "hunter2", Token: "hunter2"}
	asJSON, err := json.Marshal([]Secret{c.Password, c.Token})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		string(asJSON), fmt.Sprintf("%v %+v %#v %s %q %x %d", c, c, c, c.Token, c.Token, c.Token, c.Token), c.Token.LogValue().String(),
	} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") || !strings.Contains(text, "[redacted]") {
			t.Errorf("printed as %s", text)
		}
	}
	if s := Secret("").String(); s != "" {
		t.Errorf("an empty secret prints as %q", s)
	}
}
