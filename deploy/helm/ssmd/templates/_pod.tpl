{{/* What every pod has: identity, placement, and no service links, whose variables (API_PORT=tcp://…)
     would be read as settings. Call with (dict "root" $ "spec" $spec), and "account" for another one. */}}
{{- define "ssmd.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
serviceAccountName: {{ .account | default (include "ssmd.serviceAccount" .root) }}
securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{ include "ssmd.placement" . }}
{{- end }}

{{- define "ssmd.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .spec.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spec.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A container of the image `cli`: call with (dict "root" $ "name" "migrate" "resources" …); the caller goes on. */}}
{{- define "ssmd.cli" -}}
- name: {{ .name }}
  image: {{ include "ssmd.image" (dict "root" .root "service" "cli") | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  securityContext: {{- toYaml .root.Values.securityContext | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  resources: {{- toYaml .resources | nindent 4 }}
{{- end }}

{{/* Applies the schema. A Secret that is missing is named, where Kubernetes would wait for it. */}}
{{- define "ssmd.migrate" -}}
{{ include "ssmd.cli" (dict "root" . "name" "migrate" "resources" .Values.migrate.resources) }}
  command: [/bin/sh, -ec]
  args:
    - |
      [ -n "${DATABASE_URL:-}" ] || { echo "the Secret {{ include "ssmd.secretOf" (dict "root" . "variable" "DATABASE_URL") }} in the namespace {{ .Release.Namespace }} has no DATABASE_URL, or is missing: make it first (secrets.connections names it)" >&2; exit 2; }
      exec ssmd db migrate
  env: {{- include "ssmd.connections" (dict "root" . "variables" (list "DATABASE_URL") "optional" true) | nindent 4 }}
  {{- with include "ssmd.tlsMount" . | trim }}
  volumeMounts: {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* A usage error (a refused password, a wrong URL) is not tried again; what a server may get over is. */}}
{{- define "ssmd.failsAtOnce" -}}
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes: {operator: In, values: [2]}
      onPodConditions: [] # required by the schema of Kubernetes before 1.31
{{- end }}
