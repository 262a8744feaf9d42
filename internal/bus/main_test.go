package bus

import (
	"os"
	"testing"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

func TestMain(m *testing.M) {
	embeddedtest.AtOnce(12)
	os.Exit(m.Run())
}
