// Package charttest renders the chart with Helm's own engine and decodes what
// comes out strictly into the types of Kubernetes.
package charttest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const chart = "../memberwatch"

// render returns what the chart makes of values, by kind.
func render(t *testing.T, values string) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	var given map[string]any
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	all, err := util.ToRenderValues(c, given, common.ReleaseOptions{Name: "mw", Namespace: "bank", IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return nil, err
	}
	kinds := map[string]string{}
	for name, text := range files {
		if strings.TrimSpace(text) == "" || !strings.HasSuffix(name, ".yaml") {
			continue
		}
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(text), &head); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		if kinds[head.Kind] != "" {
			t.Fatalf("two of kind %s", head.Kind)
		}
		kinds[head.Kind] = text
	}
	return kinds, nil
}

func mustRender(t *testing.T, values string) map[string]string {
	t.Helper()
	kinds, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

// decode reads a manifest and refuses fields that Kubernetes does not have.
func decode[T any](t *testing.T, kinds map[string]string, kind string) T {
	t.Helper()
	var v T
	text, err := yaml.YAMLToJSONStrict([]byte(kinds[kind]))
	if err != nil {
		t.Fatalf("%s: %v\n%s", kind, err, kinds[kind])
	}
	// As the API server does it: the case of a field's name counts too.
	unknown, err := json.UnmarshalStrict(text, &v)
	if err := errors.Join(append(unknown, err)...); err != nil {
		t.Fatalf("%s: %v\n%s", kind, err, kinds[kind])
	}
	return v
}

// full is every option at once.
const full = `
image: { repository: registry.example/memberwatch, digest: "sha256:` + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" + `", pullSecrets: [{ name: pull }] }
settings: { NATS_URL: "tls://nats:4222", SUBJECT_PREFIX: acme, MX_BASE_URL: "https://api.mx.com" }
nats: { nkeySecretName: nats-seed, tlsSecretName: nats-tls, tlsClientCertificate: true }
shutdownTimeoutSeconds: 45
serviceMonitor: { enabled: true, labels: { team: bank } }
keda: { enabled: true }
networkPolicy: { metricsFrom: [{ namespaceSelector: { matchLabels: { name: monitoring } } }] }
serviceAccount: { annotations: { a: b } }
podAnnotations: { a: b }
podLabels: { c: d }
nodeSelector: { e: f }
tolerations: [{ key: g, operator: Exists }]
affinity: { nodeAffinity: {} }
priorityClassName: high
`

func TestManifestsAreWhatKubernetesKnows(t *testing.T) {
	for name, tc := range map[string]struct {
		values string
		kinds  []string
	}{
		"defaults": {"", []string{"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}},
		"all":      {full, []string{"Deployment", "NetworkPolicy", "PodDisruptionBudget", "ScaledObject", "Service", "ServiceAccount", "ServiceMonitor"}},
		"least": {
			"{podDisruptionBudget: {enabled: false}, networkPolicy: {enabled: false}, topologySpread: {enabled: false}, nats: {credsSecretName: creds}}",
			[]string{"Deployment", "Service", "ServiceAccount"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			kinds := mustRender(t, tc.values)
			decode[corev1.Service](t, kinds, "Service")
			decode[corev1.ServiceAccount](t, kinds, "ServiceAccount")
			decode[policyv1.PodDisruptionBudget](t, kinds, "PodDisruptionBudget")
			decode[networkingv1.NetworkPolicy](t, kinds, "NetworkPolicy")
			d := decode[appsv1.Deployment](t, kinds, "Deployment")
			var have []string
			for kind := range kinds {
				have = append(have, kind)
			}
			if slices.Sort(have); !slices.Equal(have, tc.kinds) {
				t.Errorf("kinds are %q, want %q", have, tc.kinds)
			}
			checkPod(t, d.Spec.Template.Spec)
			for key, value := range d.Spec.Selector.MatchLabels {
				if d.Spec.Template.Labels[key] != value {
					t.Errorf("the selector wants %s=%s, the pods have %q", key, value, d.Spec.Template.Labels[key])
				}
			}
		})
	}
}

// checkPod checks what holds for every set of values.
func checkPod(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	c := pod.Containers[0]
	if p := pod.SecurityContext; p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.SeccompProfile == nil {
		t.Error("the pod may run as root, or without seccomp")
	}
	if s := c.SecurityContext; s == nil || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Contains(s.Capabilities.Drop, "ALL") {
		t.Errorf("security context is %+v", s)
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("a token that nobody needs is mounted")
	}
	mounts := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = true
		if !m.ReadOnly || m.SubPath != "" {
			t.Errorf("mount %s is writable, or does not follow its secret", m.Name)
		}
	}
	for _, v := range pod.Volumes {
		if !mounts[v.Name] {
			t.Errorf("volume %s is not mounted", v.Name)
		}
		delete(mounts, v.Name)
	}
	if len(mounts) > 0 {
		t.Errorf("mounts without a volume: %v", mounts)
	}
	names := map[string]bool{}
	for _, e := range c.Env {
		if names[e.Name] {
			t.Errorf("%s is set twice", e.Name)
		}
		names[e.Name] = true
		if e.Name == "MX_API_KEY" {
			t.Error("the key is in the environment, where it cannot be rotated")
		}
	}
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("probes ask %s and %s", c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path)
	}
}

func TestEveryOptionArrives(t *testing.T) {
	kinds := mustRender(t, full)
	d := decode[appsv1.Deployment](t, kinds, "Deployment")
	pod := d.Spec.Template.Spec
	if d.Spec.Replicas != nil {
		t.Error("replicas are set, against KEDA")
	}
	if *pod.TerminationGracePeriodSeconds <= 45 {
		t.Errorf("killed after %d s, within SHUTDOWN_TIMEOUT", *pod.TerminationGracePeriodSeconds)
	}
	want := map[string]string{
		"SHUTDOWN_TIMEOUT": "45s", "NATS_NKEY_SEED_FILE": "/run/secrets/nats/seed", "NATS_TLS_KEY": "/run/secrets/nats-tls/tls.key",
		"NATS_URL": "tls://nats:4222", "TOPOLOGY": "verify", "MX_API_KEY_FILE": "/run/secrets/mx/api-key", "HTTP_ADDR": ":8080",
	}
	for _, e := range pod.Containers[0].Env {
		if want[e.Name] == e.Value {
			delete(want, e.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("these settings do not arrive: %v", want)
	}
	if len(pod.TopologySpreadConstraints) != 2 || pod.PriorityClassName != "high" || len(pod.Tolerations) != 1 || pod.NodeSelector["e"] != "f" || pod.Affinity == nil {
		t.Errorf("scheduling is %+v", pod)
	}
	if !strings.Contains(pod.Containers[0].Image, "@sha256:") {
		t.Errorf("image is %s", pod.Containers[0].Image)
	}
	for kind, text := range map[string][]string{
		"ScaledObject":   {"stream: \"ACME_COMMANDS\"", "maxReplicaCount: 4", "name: mw-memberwatch"},
		"ServiceMonitor": {"path: /metrics", "team: bank"},
	} {
		for _, part := range text {
			if !strings.Contains(kinds[kind], part) {
				t.Errorf("%s has no %s:\n%s", kind, part, kinds[kind])
			}
		}
	}
	n := decode[networkingv1.NetworkPolicy](t, kinds, "NetworkPolicy")
	if len(n.Spec.Egress[0].Ports) != 4 || n.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels["name"] != "monitoring" {
		t.Errorf("network policy is %+v", n.Spec)
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for name, values := range map[string]string{
		"an unknown value":           `{replica: 2}`,
		"an unknown value inside":    `{image: {name: x}}`,
		"no NATS":                    `{settings: {NATS_URL: ""}}`,
		"a password in NATS_URL":     `{settings: {NATS_URL: "nats://worker:secret@nats:4222"}}`,
		"a setting that is a number": `{settings: {STREAM_REPLICAS: 3}}`,
		"a key among the settings":   `{settings: {MX_API_KEY: secret}}`,
		"what the chart sets":        `{settings: {SHUTDOWN_TIMEOUT: 5s}}`,
		"a webhook without a port":   `{settings: {WEBHOOK_ADDR: ":8443"}}`,
		"two ways to log in":         `{nats: {credsSecretName: a, nkeySecretName: b}}`,
		"no time to stop":            `{shutdownTimeoutSeconds: 0}`,
		"no secret":                  `{mx: {secretName: ""}}`,
		"a digest that is none":      `{image: {digest: latest}}`,
	} {
		if _, err := render(t, values); err == nil {
			t.Errorf("%s is taken: %s", name, values)
		}
	}
}

func TestChartPassesHelmLint(t *testing.T) {
	for _, m := range lint.RunAll(chart, nil, "bank").Messages {
		if m.Severity > support.InfoSev {
			t.Error(m)
		}
	}
}
