{{/* The Secret with a URL: of the chart where it brings the server, else yours. */}}
{{- define "ssmd.secretOf" -}}
{{- $server := get (dict "DATABASE_URL" "postgresql" "NATS_URL" "nats" "REDIS_URL" "valkey") .variable }}
{{- if include "ssmd.brings" (dict "root" .root "server" $server) }}{{ include "ssmd.servers" .root }}{{ else }}{{ .root.Values.secrets.connections }}{{ end }}
{{- end }}

{{/* URLs from Secrets: call with (dict "root" $ "variables" (list "DATABASE_URL") "optional" false) */}}
{{- define "ssmd.connections" -}}
{{- range .variables }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ include "ssmd.secretOf" (dict "root" $.root "variable" .) }}, key: {{ . }}{{ if $.optional }}, optional: true{{ end }}}}
{{- end }}
{{- with .root.Values.tls }}
{{- if and .secret (has "NATS_URL" $.variables) }}
{{- range $variable, $key := dict "NATS_CA_PATH" .natsCa "NATS_CERT_PATH" .natsCert "NATS_KEY_PATH" .natsKey }}
{{- if $key }}
- {name: {{ $variable }}, value: /var/run/ssmd-tls/{{ $key }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secret with the exchange's key; nothing where there is none. */}}
{{- define "ssmd.exchangeKey" -}}
{{- if include "ssmd.brings" (dict "root" . "server" "simulator") }}{{ include "ssmd.servers" . }}{{ else }}{{ .Values.secrets.kalshi }}{{ end }}
{{- end }}

{{/* The archiver's bucket, with its key from your Secret; nothing where none is named. */}}
{{- define "ssmd.bucket" -}}
{{- if .name }}
- {name: ARCHIVER_BUCKET, value: {{ .name | quote }}}
{{- range $variable, $value := dict "ENDPOINT" .endpoint "REGION" .region "PREFIX" .prefix }}
{{- with $value }}
- {name: ARCHIVER_BUCKET_{{ $variable }}, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- if gt (int .localDays) 0 }}
- {name: ARCHIVER_BUCKET_LOCAL_DAYS, value: {{ int .localDays | quote }}}
{{- end }}
{{- if .parquet }}
- {name: ARCHIVER_BUCKET_PARQUET, value: "true"}
{{- end }}
{{- with .secret }}
{{- range list "ARCHIVER_BUCKET_ACCESS_KEY_ID" "ARCHIVER_BUCKET_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.secret }}, key: {{ . }}}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* 0440: under fsGroup a file belongs to root, and is read through the group. */}}
{{- define "ssmd.keyVolume" -}}
- name: kalshi
  secret: {secretName: {{ . }}, items: [{key: private-key.pem, path: private-key.pem}], defaultMode: 288}
{{- end }}

{{- define "ssmd.tlsVolume" -}}
{{- with .Values.tls.secret }}
- {name: tls, secret: {secretName: {{ . }}, defaultMode: 288}}
{{- end }}
{{- end }}

{{- define "ssmd.tlsMount" -}}
{{- if .Values.tls.secret }}
- {name: tls, mountPath: /var/run/ssmd-tls, readOnly: true}
{{- end }}
{{- end }}
