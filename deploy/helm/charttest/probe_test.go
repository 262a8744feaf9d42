package charttest
import (
 _ "helm.sh/helm/v4/pkg/engine"
 _ "helm.sh/helm/v4/pkg/chart/v2/loader"
 _ "helm.sh/helm/v4/pkg/chart/common/util"
 _ "k8s.io/api/apps/v1"
)
