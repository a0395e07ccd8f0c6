{{- define "reclaim.labels" -}}
app.kubernetes.io/name: reclaim
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "reclaim.selector" -}}
app.kubernetes.io/name: reclaim
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "reclaim.name" -}}
{{- if contains "reclaim" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-reclaim" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "reclaim.config" -}}
[containerd]
address = {{ printf "%s/containerd.sock" .Values.containerd.run | quote }}
namespaces = ["k8s.io"]
config = {{ printf "%s/config.toml" .Values.containerd.config | quote }}

[metrics]
listen = "0.0.0.0:{{ .Values.metricsPort }}"
{{ if .Values.turns }}
[fleet]
turns = {{ .Values.turns }}
lease_name = {{ printf "%s-turn" (include "reclaim.name" .) | quote }}
{{ end }}
{{ .Values.policies }}
{{- end }}
