{{/* What do the Pods of both programs have in common? */}}

{{- define "nodeipam-ctl.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The labels and annotations of a Pod. Takes (list $ "agent"). */}}
{{- define "nodeipam-ctl.podMetadata" -}}
{{- $program := index (index . 0).Values (index . 1) }}
{{- with $program.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- include "nodeipam-ctl.programLabels" (append . $program.podLabels) | nindent 2 }}
{{- end }}

{{/* Where the Pod may run, as whom, on which network. */}}
{{- define "nodeipam-ctl.podSpec" -}}
{{- $root := index . 0 }}
{{- $program := index $root.Values (index . 1) }}
serviceAccountName: {{ include "nodeipam-ctl.serviceAccountName" . | quote }}
automountServiceAccountToken: true
# Both programs work before there is a pod network: they make it.
hostNetwork: true
# The host's resolver: cluster DNS runs on the network that is not there yet.
dnsPolicy: Default
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $program.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Flags that both programs know. The brackets are for nodes whose address is IPv6, and do IPv4 no harm. */}}
{{- define "nodeipam-ctl.args" -}}
{{- $root := index . 0 }}
{{- $program := index $root.Values (index . 1) }}
- --metrics-address=[{{ ternary "$(NODE_IP)" "127.0.0.1" $root.Values.metrics.enabled }}]:{{ $program.metrics.port }}
{{- with $root.Values.serviceCIDRs }}
- --service-cidr={{ join "," . }}
{{- end }}
- --log-format={{ $root.Values.logging.format }}
- --log-level={{ $root.Values.logging.level }}
{{- with $program.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nodeipam-ctl.env" -}}
{{- $root := index . 0 }}
{{- $program := index $root.Values (index . 1) }}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: NODE_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
{{- with $root.Values.k8sServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.k8sServicePort }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ . | quote }}
{{- end }}
{{- with $program.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* healthz: the program is alive; readyz: it is synced. Both on the port of the metrics. */}}
{{- define "nodeipam-ctl.probes" -}}
{{- $root := index . 0 }}
ports:
  - name: metrics
    containerPort: {{ (index $root.Values (index . 1)).metrics.port }}
    protocol: TCP
livenessProbe:
  httpGet: {path: /healthz, port: metrics{{ if not $root.Values.metrics.enabled }}, host: 127.0.0.1{{ end }}}
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics{{ if not $root.Values.metrics.enabled }}, host: 127.0.0.1{{ end }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}
