{{/* The beginning of every name. Short enough for all that is put behind it: a StatefulSet's name is
     part of a label's value, and so has 52 characters at most. */}}
{{- define "ssmd.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) }}
{{- if gt (len $name) 40 }}{{ printf "%s-%s" (trunc 33 $name | trimSuffix "-") (sha256sum $name | trunc 6) }}{{ else }}{{ $name }}{{ end }}
{{- end }}

{{/* Labels of one service: call with (dict "root" $ "service" "cdc") */}}
{{- define "ssmd.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{- define "ssmd.labels" -}}
{{ include "ssmd.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "ssmd.image" -}}
{{- with .root.Values.image -}}
{{ with .registry }}{{ . }}/{{ end }}{{ .prefix }}{{ $.service }}:{{ .tag | default $.root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "ssmd.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "ssmd.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{/* What a service has of `defaults` and of its own, as YAML. */}}
{{- define "ssmd.spec" -}}
{{- mustMergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (index .root.Values.services .service)) | toYaml }}
{{- end }}

{{/* "yes" where the chart brings a server: call with (dict "root" $ "server" "nats") */}}
{{- define "ssmd.brings" -}}
{{- if or .root.Values.demo (index .root.Values .server).enabled }}yes{{ end }}
{{- end }}

{{/* Helm reads every number as a float, and writes large ones as 5e+09. */}}
{{- define "ssmd.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . | quote }}{{ else }}{{ . | quote }}{{ end }}
{{- end }}

{{/* Where the schema is applied: "hook", "init" or nothing. A database of the chart is not there yet when a hook runs. */}}
{{- define "ssmd.migrates" -}}
{{- if .Values.migrate.enabled }}{{ if include "ssmd.brings" (dict "root" . "server" "postgresql") }}init{{ else }}{{ .Values.migrate.mode }}{{ end }}{{ end }}
{{- end }}

{{- define "ssmd.servers" -}}
{{ include "ssmd.name" . }}-servers
{{- end }}
