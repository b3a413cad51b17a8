{{- define "registryd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "registryd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "registryd.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The Service of metrics: inside the cluster only, whatever the registry's is. */}}
{{- define "registryd.metricsName" -}}
{{- printf "%s-metrics" (include "registryd.fullname" . | trunc 55 | trimSuffix "-") -}}
{{- end -}}

{{- define "registryd.metricsLabels" -}}
{{ include "registryd.selectorLabels" . }}
app.kubernetes.io/component: metrics
{{- end -}}

{{/* Names are quoted everywhere: one of digits alone would be a number. */}}
{{- define "registryd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "registryd.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "registryd.labels" -}}
{{ include "registryd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Whether somebody has to log in. */}}
{{- define "registryd.hasUsers" -}}
{{- if or .Values.secrets.htpasswd .Values.secrets.existingSecret }}true{{ end -}}
{{- end -}}

{{- define "registryd.usersSecret" -}}
{{- default (include "registryd.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{/* Whether the registry itself ends TLS. */}}
{{- define "registryd.tls" -}}
{{- $tls := default dict .Values.configData.http.tls -}}
{{- if or .Values.tlsSecretName $tls.certificate $tls.local $tls.letsencrypt }}true{{ end -}}
{{- end -}}

{{/* Whether its certificate comes by ACME: until the authority has reached it, it refuses every handshake. */}}
{{- define "registryd.acme" -}}
{{- if (default dict .Values.configData.http.tls).letsencrypt }}true{{ end -}}
{{- end -}}

{{/* Whether it speaks with nobody who shows no certificate, as a kubelet does not. */}}
{{- define "registryd.clientCertificates" -}}
{{- $tls := default dict .Values.configData.http.tls -}}
{{- $mode := default "require-and-verify-client-cert" $tls.clientauth -}}
{{- if and $tls.clientcas (hasPrefix "require-" $mode) }}true{{ end -}}
{{- end -}}

{{/* What a probe asks: the chart, and a path. */}}
{{- define "registryd.probe" -}}
{{- $chart := index . 0 -}}
{{- $path := index . 1 -}}
{{- $clients := include "registryd.clientCertificates" $chart -}}
{{- if and (ne $path "/readyz") (or $clients (include "registryd.acme" $chart)) -}}
tcpSocket:
  port: registry
{{- else if $clients -}}
exec:
  command: ["/bin/registryd", "healthcheck"]
timeoutSeconds: 10
{{- else -}}
httpGet:
  path: {{ $path }}
  port: registry
  scheme: {{ ternary "HTTPS" "HTTP" (eq (include "registryd.tls" $chart) "true") }}
{{- end -}}
{{- end -}}

{{/* Whether pods may run side by side. */}}
{{- define "registryd.isShared" -}}
{{- if or (eq .Values.storage "s3") (eq .Values.persistence.accessMode "ReadWriteMany") }}true{{ end -}}
{{- end -}}

{{/* config.yml: what the values say, over configData. */}}
{{- define "registryd.config" -}}
{{- $config := deepCopy .Values.configData -}}
{{- $storage := dict -}}
{{- if eq .Values.storage "s3" -}}
{{- $s3 := dict "bucket" (required "storage: s3 needs s3.bucket" .Values.s3.bucket) "region" (required "storage: s3 needs s3.region" .Values.s3.region) -}}
{{- with .Values.s3.regionEndpoint }}{{ $_ := set $s3 "regionendpoint" . }}{{ end -}}
{{- with .Values.s3.rootdirectory }}{{ $_ := set $s3 "rootdirectory" . }}{{ end -}}
{{- if not (kindIs "invalid" .Values.s3.encrypt) }}{{ $_ := set $s3 "encrypt" .Values.s3.encrypt }}{{ end -}}
{{- if not (kindIs "invalid" .Values.s3.secure) }}{{ $_ := set $s3 "secure" .Values.s3.secure }}{{ end -}}
{{- $_ := set $storage "s3" $s3 -}}
{{- else -}}
{{- $_ := set $storage "filesystem" (dict "rootdirectory" "/var/lib/registry") -}}
{{- end -}}
{{- with .Values.garbageCollect -}}
{{- if .enabled -}}
{{- $_ := set $storage "gc" (dict "enabled" true "untagged" .deleteUntagged "interval" .interval "grace" .grace) -}}
{{- end -}}
{{- end -}}
{{- $http := dict -}}
{{- if .Values.tlsSecretName -}}
{{- $_ := set $http "tls" (dict "certificate" "/etc/ssl/docker/tls.crt" "key" "/etc/ssl/docker/tls.key") -}}
{{- end -}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $http "debug" (dict "addr" (printf ":%d" (int .Values.metrics.port)) "prometheus" (dict "enabled" true "path" "/metrics")) -}}
{{- end -}}
{{- $added := dict "storage" $storage "http" $http -}}
{{- if include "registryd.hasUsers" . -}}
{{- $_ := set $added "auth" (dict "htpasswd" (dict "realm" "Registry Realm" "path" "/auth/htpasswd")) -}}
{{- end -}}
{{- mustMergeOverwrite $config $added | toYaml -}}
{{- end -}}

{{/* Whether a path of the container lies on a volume of extraVolumeMounts: the chart, and the path. */}}
{{- define "registryd.isMounted" -}}
{{- $path := default "" (index . 1) -}}
{{- range (index . 0).Values.extraVolumeMounts -}}
{{- if hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) (printf "%s/" $path) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* What would fail later and far away, said now. */}}
{{- define "registryd.check" -}}
{{- with .Values.secrets.htpasswd -}}
{{- if not (contains ":" .) -}}
{{- fail "secrets.htpasswd is the content of a password file, not its path: use --set-file secrets.htpasswd=FILE" -}}
{{- end -}}
{{- end -}}
{{- $storage := default dict .Values.configData.storage -}}
{{- range $driver := list "azure" "filesystem" "gcs" "inmemory" "s3" "s3aws" "sled" -}}
{{- if and (hasKey $storage $driver) (ne $driver $.Values.storage) -}}
{{- fail (printf "configData.storage.%s: the driver is chosen by `storage`, which is %q: set `storage: s3` and `s3.bucket`, or leave it out of configData" $driver $.Values.storage) -}}
{{- end -}}
{{- end -}}
{{- $tls := default dict .Values.configData.http.tls -}}
{{- if and .Values.tlsSecretName (or $tls.local $tls.letsencrypt) -}}
{{- fail (printf "tlsSecretName and configData.http.tls.%s are two certificates: leave one of them out" (ternary "local" "letsencrypt" (hasKey $tls "local"))) -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (not (include "registryd.isShared" .)) -}}
{{- fail "replicaCount above 1 needs persistence.accessMode=ReadWriteMany or storage=s3: a ReadWriteOnce volume belongs to one node" -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (include "registryd.acme" .) -}}
{{- fail "configData.http.tls.letsencrypt needs replicaCount=1: only one of several replicas would be asked for its proof; let cert-manager make the Secret of tlsSecretName" -}}
{{- end -}}
{{- if eq .Values.storage "s3" -}}
{{- $tls := default dict .Values.configData.http.tls -}}
{{- with $tls.letsencrypt -}}
{{- if not (include "registryd.isMounted" (list $ .cachefile)) -}}
{{- fail "configData.http.tls.letsencrypt with storage=s3 needs a cachefile on a volume of extraVolumeMounts: the pod would ask for a new certificate at each start, until the authority refuses" -}}
{{- end -}}
{{- end -}}
{{- with $tls.local -}}
{{- if not (include "registryd.isMounted" (list $ .directory)) -}}
{{- fail "configData.http.tls.local with storage=s3 needs a directory on a volume of extraVolumeMounts: the pod would be a new authority at each start, which no client trusts" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What only a pod's security context may have. Charts for registries that people come from have it in `securityContext`, beside `enabled`. */}}
{{- define "registryd.ofPods" -}}
{{- list "fsGroup" "fsGroupChangePolicy" "supplementalGroups" "sysctls" | toJson -}}
{{- end -}}

{{- define "registryd.podSecurityContext" -}}
{{- $pod := deepCopy .Values.podSecurityContext -}}
{{- range $key := include "registryd.ofPods" . | fromJsonArray -}}
{{- if hasKey $.Values.securityContext $key }}{{ $_ := set $pod $key (get $.Values.securityContext $key) }}{{ end -}}
{{- end -}}
{{- toYaml $pod -}}
{{- end -}}

{{- define "registryd.securityContext" -}}
{{- $container := omit .Values.securityContext "enabled" -}}
{{- range $key := include "registryd.ofPods" . | fromJsonArray }}{{ $container = omit $container $key }}{{ end -}}
{{- toYaml $container -}}
{{- end -}}

{{/* The port the registry listens on, from http.addr. */}}
{{- define "registryd.port" -}}
{{- regexFind "[0-9]+$" (default ":5000" .Values.configData.http.addr) -}}
{{- end -}}

{{/* Where clients reach it. */}}
{{- define "registryd.host" -}}
{{- if .Values.host -}}
{{- .Values.host -}}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- first .Values.ingress.hosts -}}
{{- else -}}
{{- $name := printf "%s.%s.svc" (include "registryd.fullname" .) .Release.Namespace -}}
{{- $port := int .Values.service.port -}}
{{- if and (eq $port 443) (include "registryd.tls" .) }}{{ $name }}{{ else }}{{ printf "%s:%d" $name $port }}{{ end -}}
{{- end -}}
{{- end -}}
