package bus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func TestSeedFileThatHoldsNoUsersSeedIsNamed(t *testing.T) {
	t.Parallel()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"empty": "", "no seed": "secret", "an account's": string(seed)} {
		path := filepath.Join(t.TempDir(), "worker.nk")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := (&seedFile{path: path}).option(&nats.Options{})
		if err == nil || !strings.Contains(err.Error(), "NATS_NKEY_SEED_FILE") || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), string(seed)) {
			t.Errorf("%s: %v, want an error that names setting and file, and no seed", name, err)
		}
	}
}
