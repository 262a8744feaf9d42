// Package deployed does what deploy/README.md tells a newcomer to do: it runs the
// shell blocks of its section on the cluster as they stand, with nothing but a copy
// of deploy, and looks at what comes up. Three NATS servers with TLS and accounts,
// a simulated MX by https, two workers that may do no more than their role, and
// Prometheus with the rules and the queries of the dashboard.
//
// What differs from the newcomer: ports that are free, a name of its own for the
// compose project, and images that need no registry (NATS_IMAGE, PROMETHEUS_IMAGE,
// MEMBERWATCH_IMAGE; .ci/images builds them). Grafana is started only where
// GRAFANA_IMAGE names an image of it; elsewhere a line says that it was not, and
// the queries of its dashboard are asked of Prometheus all the same.
//
// Without MEMBERWATCH_IMAGE, or a Docker engine, the tests skip with a visible
// line; REQUIRE_DOCKER=1 turns that into a failure.
//
//	guide_test.go       the blocks of the README, and running them
//	deployed_test.go    what must come of them
//	dashboard_test.go   Prometheus, rules and dashboard
package deployed
