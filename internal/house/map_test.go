package house

// module is the path in go.mod.
const module = "github.com/memberwatch/memberwatch"

// A rule says what one package may import beyond the standard library.
//
// In every list a name stands for itself, and a name that ends in "/..." for
// itself and all that lies below it.
type rule struct {
	// pkg is the package, as a path inside the module.
	pkg string
	// ours are the packages of this module that its code may import.
	ours []string
	// only, when not nil, are the only packages outside this module and the
	// standard library that its code may import. When nil, anything not
	// guarded is allowed.
	only []string
	// not are packages of the standard library that its code may not import.
	not []string
	// never are packages that neither its code nor its tests may import.
	never []string
	// timeless forbids its code to ask for the time or to wait.
	timeless bool
}

// rules is the import map. A package's own rule counts before that of a subtree
// around it.
var rules = []rule{
	// Public: whoever imports these pays for every import they have.
	{pkg: "events", ours: []string{}, only: []string{"github.com/cloudevents/sdk-go/v2/event/..."}},
	{
		pkg:  "events/...",
		ours: []string{"events/...", "schemas"},
		only: []string{"github.com/cloudevents/sdk-go/v2/event/...", "github.com/nats-io/nats.go/..."},
	},
	{pkg: "schemas", ours: []string{"events"}, only: []string{"github.com/cloudevents/sdk-go/v2/event/..."}},
	{
		pkg:  "schemas/validate",
		ours: []string{"events", "schemas"},
		only: []string{"github.com/santhosh-tekuri/jsonschema/v6/...", "github.com/cloudevents/sdk-go/v2/event/...", "golang.org/x/text/..."},
	},
	{pkg: "schemas/compat", ours: []string{}, only: []string{"go.yaml.in/yaml/v3"}}, // the AsyncAPI document is YAML

	// The core: values in, values out.
	{
		pkg:  "internal/member",
		ours: []string{"events"},
		only: []string{"github.com/cloudevents/sdk-go/v2/event/..."},
		not: []string{
			"context", "crypto/rand/...", "database/...", "io/fs/...", "io/ioutil", "log/...",
			"math/rand/...", "net/...", "os/...", "path/filepath", "sync/...", "syscall/...",
		},
		timeless: true,
	},

	// What the service is made of.
	{pkg: "internal/mx"},
	{pkg: "internal/refresh", ours: []string{"events", "internal/loglimit", "internal/member", "internal/mx"}},
	{
		pkg:   "internal/bus",
		ours:  []string{"events", "internal/bus/command", "internal/loglimit", "internal/refresh"},
		never: []string{"internal/mx", "internal/member"},
	},
	{
		pkg:      "internal/bus/command",
		ours:     []string{"events"},
		only:     []string{"github.com/nats-io/nats.go", "github.com/cloudevents/sdk-go/v2/event/..."},
		not:      []string{"context", "log/...", "math/rand/...", "net", "net/http/...", "os/...", "sync/..."},
		timeless: true,
	},
	{pkg: "internal/sweep", ours: []string{"events", "internal/mx", "internal/refresh"}},
	{pkg: "internal/bus/embedded"},
	{pkg: "internal/bus/embedded/embeddedtest", ours: []string{"internal/bus/embedded"}},
	{
		pkg: "internal/refresh/...", // test kits
		ours: []string{
			"events", "schemas/...", "internal/bus", "internal/bus/embedded/...", "internal/mx", "internal/mx/mxsim",
			"internal/observe/...", "internal/oracle", "internal/refresh/...",
		},
	},
	{pkg: "internal/webhook", ours: []string{"events"}, only: []string{"github.com/prometheus/client_golang/..."}},
	{pkg: "internal/observe"},
	{pkg: "internal/loglimit", ours: []string{}, only: []string{"golang.org/x/time/rate"}},
	{pkg: "internal/settings", only: []string{"github.com/sethvargo/go-envconfig"}},
	{pkg: "internal/observe/observetest", ours: []string{"internal/mx/mxsim"}},

	// What it is tested with. The simulator and the oracle are strangers to the
	// code they test: sharing it would mean sharing its mistakes.
	{pkg: "internal/mx/mxsim", never: []string{"internal/mx"}},
	{
		pkg:   "internal/oracle",
		ours:  []string{"events", "schemas/...", "internal/mx/mxsim"},
		never: []string{"internal/member", "internal/refresh", "internal/mx", "internal/bus"},
	},
	{
		pkg: "internal/e2e/...",
		ours: []string{
			"events/...", "schemas/...", "internal/e2e/...", "internal/oracle",
			"internal/mx/mxsim", "internal/bus/embedded",
		},
		never: []string{"internal/member", "internal/refresh", "internal/mx", "internal/bus"},
	},
	{
		pkg: "internal/bench",
		ours: []string{
			"events/...", "schemas/...", "internal/bus", "internal/bus/embedded", "internal/member",
			"internal/mx", "internal/mx/mxsim", "internal/observe", "internal/oracle", "internal/refresh", "internal/sweep",
		},
	},

	// The programs: wiring, so nearly everything.
	{
		pkg: "cmd/memberwatch",
		ours: []string{
			"events/...", "schemas/...", "internal/bus", "internal/bus/embedded", "internal/member",
			"internal/mx", "internal/mx/mxsim", "internal/observe", "internal/oracle",
			"internal/refresh", "internal/settings", "internal/sweep", "internal/webhook",
		},
	},
	{pkg: "cmd/mxsim", ours: []string{"internal/mx/mxsim", "internal/observe", "internal/settings"}},

	// Files to run it with, their tests, and what makes the list of materials.
	{pkg: "deploy/..."},
	{pkg: "internal/adr"},
	{pkg: "internal/house"},
}

// A guard names the only packages whose code may import a module. Tests may
// import it anywhere.
type guard struct {
	imports string
	by      []string
}

var guards = []guard{
	{"github.com/nats-io/nats.go/...", []string{
		"internal/bus", "internal/bus/command", "internal/bus/embedded/...", "internal/bench", "internal/e2e/...",
		"internal/oracle", "internal/refresh/refreshtest", "events/...", "cmd/...",
	}},
	{"github.com/nats-io/nats-server/...", []string{"internal/bus/embedded"}},
	{"github.com/testcontainers/testcontainers-go/...", []string{"internal/e2e/..."}},
	{"github.com/spf13/cobra/...", []string{"cmd/..."}},
	// The API costs nothing while nobody traces; what sends spans is in one place. The
	// official exporters link gRPC: decision record 0013.
	{"go.opentelemetry.io/otel/sdk/...", []string{"internal/observe"}},
	{"go.opentelemetry.io/otel/exporters/...", []string{}},
	{"go.opentelemetry.io/proto/...", []string{"internal/observe/observetest"}},
	{"google.golang.org/grpc/...", []string{}},
}
